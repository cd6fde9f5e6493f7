#!/usr/bin/env bash
# Makes the font of the formulas anew: TeX Gyre Pagella Math (GUST Font License), cut down to the signs
# that chapters and derivations can use, with its MATH table, so that brackets, roots and sums stretch.
# Not needed to build the page: the result is in app/static/fonts. Run it when a formula needs a sign
# that is not in SIGNS, or with the path of another texgyrepagella-math.otf as its argument.
#
# Needs Python with fonttools and brotli, and without an argument Debian's apt-get.
set -euo pipefail
cd "$(dirname "$0")/.."

# Letters, italic letters, Greek; accents, primes, dots; arrows; operators; brackets.
SIGNS="20-7E,A0,AC,B1,B7,D7,F7,391-3A9,3B1-3C9,3D1,3D5,3F5,1D434-1D467,210E,1D6E2-1D71B,302-305,307,332,20D7,2016,2026,2032-2034,2061-2064,2113,22EE,22EF,2190-2194,21A6,21D0-21D4,27F6,2200,2202,2203,2205-2208,220F,2211,2212,2215,2217,2218,221A,221D,221E,2223,2225,2227-222B,223C,2248,2260,2261,2264,2265,226A,226B,2282,2286,2295,2297,2299,22A4,22C5,2308-230B,23B4,23DE,23DF,27E8,27E9"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source="${1:-}"
if [ -z "$source" ]; then
  (cd "$work" && apt-get download -qq fonts-texgyre-math && dpkg-deb -x fonts-texgyre-math_*.deb .)
  source=$(find "$work" -name texgyrepagella-math.otf)
fi

pyftsubset "$source" --unicodes="$SIGNS" --layout-features='*' --no-hinting --desubroutinize \
  --drop-tables+=FFTM --output-file="$work/cut.otf"
# The licence asks that a changed font has another name.
python3 - "$work" <<'P'
import sys
from fontTools.ttLib import TTFont
font = TTFont(f"{sys.argv[1]}/cut.otf", recalcTimestamp=False)
assert "MATH" in font, "the MATH table is gone"
for record in font["name"].names:
    if record.nameID in (1, 3, 4, 6, 16):
        record.string = "ChainruleMath-Regular" if record.nameID == 6 else "Chainrule Math"
font.flavor = "woff2"
font.save(f"{sys.argv[1]}/math.woff2")
P

name="math-$(sha256sum "$work/math.woff2" | cut -c1-16).woff2"
rm -f app/static/fonts/math-*.woff2
install -D -m 644 "$work/math.woff2" "app/static/fonts/$name"
sed -i -E "s/math-[0-9a-f]{16}\.woff2/$name/g" index.html app/style.css
ls -l "app/static/fonts/$name"
