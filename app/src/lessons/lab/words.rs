//! What the keys of a recipe mean, in Chinese; English is in the engine's own table.

use crate::page::lang::Lang;

/// A table of the recipe.
pub fn table(name: &str, lang: Lang) -> &'static str {
    let (en, zh) = match name {
        "data" => ("Data", "数据"),
        "augment" => ("Augmentation", "数据增强"),
        "model" => ("Model", "模型"),
        "train" => ("Training", "训练"),
        "optimizer" => ("Optimiser", "优化器"),
        "schedule" => ("Learning rate schedule", "学习率计划"),
        _ => ("Recipe", "配方"),
    };
    lang.pick(en, zh)
}

/// A key's meaning in that language; `None` where the engine's table has it.
pub fn meaning(path: &str, lang: Lang) -> Option<&'static str> {
    if lang == Lang::En {
        return None;
    }
    Some(match path {
        "name" => "配方的名称",
        "data.set" => "用哪些图像",
        "data.root" => "图像或文件所在的文件夹；folder 需要它",
        "data.limit" => "只用前 N 张训练图像",
        "data.resize" => "双线性缩放到这个高与宽",
        "data.normalize.mean" => "各通道的均值：x 变为 (x − 均值) / 标准差，x 取 0 到 1",
        "data.normalize.std" => "各通道的标准差",
        "data.shuffle" => "每轮重新打乱次序；关闭则保持文件中的次序",
        "data.validation" => "从训练图像中按类留出的比例，用来选出最好的一轮",
        "augment.crop_padding" => "四周补这么多像素，再随机裁回原来大小；0 为关闭",
        "augment.flip" => "随机左右翻转",
        "model.name" => "目录中的模型；或改填各层",
        "model.layers" => "按次序排列的各层；或改填模型名称",
        "train.loss" => "损失：交叉熵（由 logit）、均方误差、二元交叉熵（由 logit）",
        "train.label_smoothing" => "把目标的这一部分均匀分给所有类别",
        "train.class_weights" => "各类别在损失中的权重",
        "train.batch" => "每步的图像数",
        "train.epochs" => "训练图像过几遍；或改填步数",
        "train.steps" => "总共多少批；或改填轮数",
        "train.seed" => "决定初始权重、次序、增强与 dropout",
        "train.precision" => "mixed：矩阵乘与卷积读 f16、以 f32 累加，损失缩放自动调整；权重保持 f32",
        "train.clip_norm" => "梯度范数超过它时按比例缩小",
        "train.checkpoint_every" => "每 N 步另存一次检查点；每轮结束总会保存",
        "optimizer.kind" => "更新规则；默认值同 PyTorch",
        "optimizer.lr" => "学习率（计划之前）",
        "optimizer.momentum" => "保留上一次更新的比例",
        "optimizer.nesterov" => "按动量向前看一步",
        "optimizer.alpha" => "梯度平方均值的衰减",
        "optimizer.betas" => "梯度均值与梯度平方均值的衰减",
        "optimizer.eps" => "加在根号旁，避免除以 0",
        "optimizer.weight_decay" => "把权重拉向 0：加进梯度；adamw 则与梯度分开",
        "schedule.kind" => "学习率怎样变化",
        "schedule.every" => "两次下降之间的轮数",
        "schedule.gamma" => "每次下降的倍数",
        "schedule.warmup" => "余弦之前线性升高的轮数",
        "schedule.min_lr" => "最后的学习率",
        _ => return None,
    })
}
