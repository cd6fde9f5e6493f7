// The sizes of a convolution.
// x: [IMAGES, GROUPS * CI, H, W], w: [GROUPS * CO, CI, KH, KW], y: [IMAGES, GROUPS * CO, OH, OW]
const GROUPS: i32 = 1;
const IMAGES: i32 = 1;
const CI: i32 = 3;
const CO: i32 = 8;
const H: i32 = 8;
const W: i32 = 8;
const KH: i32 = 3;
const KW: i32 = 3;
const OH: i32 = 8;
const OW: i32 = 8;
const STRIDE_H: i32 = 1;
const STRIDE_W: i32 = 1;
const PADDING_H: i32 = 1;
const PADDING_W: i32 = 1;
const DILATION_H: i32 = 1;
const DILATION_W: i32 = 1;
