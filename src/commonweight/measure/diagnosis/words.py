"""The words of the diagnosis, in one table: English, simplified Chinese, traditional Chinese.

In a sentence, {layer}, {value}, {threshold} and {since} are those of the finding, and other names are parameters of the
advice. Values are written with three digits.
"""

from collections.abc import Mapping

from commonweight.errors import TrainError
from commonweight.measure.diagnosis.finding import Finding

LANGUAGES = ("en", "zh-Hans", "zh-Hant")
NOTHING = {"en": "Nothing is wrong.", "zh-Hans": "没有发现问题。", "zh-Hant": "沒有發現問題。"}

FINDINGS: Mapping[str, tuple[str, str, str]] = {
    "broken_tie": (
        "The declared tie {layer} does not hold: two weights learn where one was meant.",
        "声明的权重共享 {layer} 并不成立：本应是一个权重，却有两个在学习。",
        "宣告的權重共享 {layer} 並不成立：本應是一個權重，卻有兩個在學習。",
    ),
    "leakage": (
        "A share of {value} of the validation samples is in the training part, too: the validation score flatters.",
        "验证样本中有 {value} 也在训练集里：验证得分偏高。",
        "驗證樣本中有 {value} 也在訓練集裡：驗證得分偏高。",
    ),
    "zero_start": (
        "All weights of {layer} begin at 0: no signal and no gradient passes.",
        "{layer} 的权重全部从 0 开始：信号和梯度都传不过去。",
        "{layer} 的權重全部從 0 開始：訊號和梯度都傳不過去。",
    ),
    "constant_start": (
        "All units of {layer} begin with the same weights, and so they stay one unit.",
        "{layer} 的所有单元以相同的权重开始，因此始终如同一个单元。",
        "{layer} 的所有單元以相同的權重開始，因此始終如同一個單元。",
    ),
    "softmax_twice": (
        "The net puts out probabilities and the loss takes their softmax again: gradients are small and targets out of "
        "reach.",
        "网络已输出概率，损失函数又做了一次 softmax：梯度变小，目标无法达到。",
        "網路已輸出機率，損失函數又做了一次 softmax：梯度變小，目標無法達到。",
    ),
    "softmax_missing": (
        "The loss is a negative log likelihood, but the outputs are no log probabilities: a softmax is missing.",
        "损失函数是负对数似然，但输出不是概率的对数：缺少 softmax。",
        "損失函數是負對數似然，但輸出不是機率的對數：缺少 softmax。",
    ),
    "wrong_loss": (
        "The loss does not fit the outputs{layer}: its descent does not lead to the targets ({value}, "
        "expected at least {threshold}).",
        "损失函数与输出{layer}不相配：沿其下降方向到不了目标（{value}，应不小于 {threshold}）。",
        "損失函數與輸出{layer}不相配：沿其下降方向到不了目標（{value}，應不小於 {threshold}）。",
    ),
    "small_batch_norm": (
        "{layer} normalises over batches of {value}: their mean says nothing, and differs from that of the test.",
        "{layer} 对大小为 {value} 的批做归一化：其均值没有意义，也与测试时不同。",
        "{layer} 對大小為 {value} 的批做正規化：其均值沒有意義，也與測試時不同。",
    ),
    "shuffled_labels": (
        "Labels do not follow from inputs: neighbours foretell them with {value}, hardly better than chance.",
        "标签与输入无关：由近邻预测的得分为 {value}，几乎等于随机。",
        "標籤與輸入無關：由近鄰預測的得分為 {value}，幾乎等於隨機。",
    ),
    "unnormalised_input": (
        "The inputs are not normalised: offset, spread or size is {value}, where {threshold} is the limit.",
        "输入没有归一化：偏移、离散程度或大小为 {value}，界限为 {threshold}。",
        "輸入沒有正規化：偏移、離散程度或大小為 {value}，界限為 {threshold}。",
    ),
    "unequal_start": (
        "The weights of {layer} begin too large or too small: the signal of the samples grows {value} times in it "
        "(limit {threshold}).",
        "{layer} 的初始权重太大或太小：样本的信号在其中放大 {value} 倍（界限 {threshold}）。",
        "{layer} 的初始權重太大或太小：樣本的訊號在其中放大 {value} 倍（界限 {threshold}）。",
    ),
    "frozen_layer": (
        "No step moves the weights of {layer}.",
        "{layer} 的权重从不更新。",
        "{layer} 的權重從不更新。",
    ),
    "missing_activation": (
        "There is no activation between {layer}: linear layers in a row are one linear layer.",
        "{layer} 之间没有激活函数：相连的线性层等于一个线性层。",
        "{layer} 之間沒有激活函數：相連的線性層等於一個線性層。",
    ),
    "saturation": (
        "A share of {value} of what {layer} is fed lies at the ends of its range since step {since}: slopes are near 0 "
        "there.",
        "自第 {since} 步起，{layer} 的输入有 {value} 处于取值范围的两端：那里的斜率接近 0。",
        "自第 {since} 步起，{layer} 的輸入有 {value} 處於取值範圍的兩端：那裡的斜率接近 0。",
    ),
    "dead_units": (
        "A share of {value} of the units that feed {layer} puts out 0 for every sample since step {since}.",
        "自第 {since} 步起，{layer} 的输入单元中有 {value} 对所有样本都输出 0。",
        "自第 {since} 步起，{layer} 的輸入單元中有 {value} 對所有樣本都輸出 0。",
    ),
    "vanishing_gradient": (
        "The gradient vanishes on its way to {layer}: {value} of that of the last layer.",
        "梯度在到达 {layer} 之前消失：只有最后一层的 {value}。",
        "梯度在到達 {layer} 之前消失：只有最後一層的 {value}。",
    ),
    "not_finite": (
        "The loss is no number ({value}) since step {since}; the first tensor that is none: {layer}.",
        "自第 {since} 步起损失不再是数（{value}）；首先出现的张量：{layer}。",
        "自第 {since} 步起損失不再是數（{value}）；首先出現的張量：{layer}。",
    ),
    "exploding_gradient": (
        "The gradient of {layer} explodes to {value} (more than {threshold}) by step {since}.",
        "到第 {since} 步，{layer} 的梯度爆炸到 {value}（超过 {threshold}）。",
        "到第 {since} 步，{layer} 的梯度爆炸到 {value}（超過 {threshold}）。",
    ),
    "rate_too_high": (
        "The learning rate is too high: one step changes the weights by {value} of their size (by step {since}).",
        "学习率太高：一步就使权重改变其大小的 {value}（到第 {since} 步）。",
        "學習率太高：一步就使權重改變其大小的 {value}（到第 {since} 步）。",
    ),
    "rate_too_low": (
        "The learning rate is too low: no step changes the weights by more than {value} of their size.",
        "学习率太低：每一步对权重的改变都不超过其大小的 {value}。",
        "學習率太低：每一步對權重的改變都不超過其大小的 {value}。",
    ),
    "label_noise": (
        "About {value} of the labels contradict those of their neighbours.",
        "约 {value} 的标签与其近邻的标签矛盾。",
        "約 {value} 的標籤與其近鄰的標籤矛盾。",
    ),
    "class_imbalance": (
        "The rarest class has {value} of the samples of the most frequent, and rare classes are hardly recognised.",
        "最少的类别只有最多类别样本数的 {value}，稀少的类别几乎认不出。",
        "最少的類別只有最多類別樣本數的 {value}，稀少的類別幾乎認不出。",
    ),
    "constant_features": (
        "Columns without information, constant in the training part ({value}): {layer}.",
        "训练集中恒定、没有信息的列（{value} 个）：{layer}。",
        "訓練集中恆定、沒有資訊的欄（{value} 個）：{layer}。",
    ),
    "net_too_small": (
        "The net is too small: its narrowest hidden layer has {value} units.",
        "网络太小：最窄的隐藏层只有 {value} 个单元。",
        "網路太小：最窄的隱藏層只有 {value} 個單元。",
    ),
    "net_too_large": (
        "The net is too large for the data: {value} weights for each training sample.",
        "网络对数据来说太大：每个训练样本对应 {value} 个权重。",
        "網路對資料來說太大：每個訓練樣本對應 {value} 個權重。",
    ),
    "overfit": (
        "The net overfits: it scores {value} better on what it learned from than on the validation part.",
        "过拟合：训练得分比验证得分高 {value}。",
        "過擬合：訓練得分比驗證得分高 {value}。",
    ),
    "no_progress": (
        "The training loss has not fallen: it is {value} of what it began with.",
        "训练损失没有下降：仍为开始时的 {value}。",
        "訓練損失沒有下降：仍為開始時的 {value}。",
    ),
    "oscillation": (
        "The loss swings from step to step by {value} of its mean since step {since}.",
        "自第 {since} 步起，损失逐步摆动，幅度为均值的 {value}。",
        "自第 {since} 步起，損失逐步擺動，幅度為均值的 {value}。",
    ),
    "plateau": (
        "The training loss stands still since step {since}, above where it could be.",
        "自第 {since} 步起训练损失停滞，尚未达到可达到的水平。",
        "自第 {since} 步起訓練損失停滯，尚未達到可達到的水準。",
    ),
    "underfit": (
        "The net underfits: even on its training part it scores {value} (limit {threshold}), far below plain methods.",
        "欠拟合：在训练集上得分也只有 {value}，低于 {threshold}，远不如简单方法。",
        "欠擬合：在訓練集上得分也只有 {value}，低於 {threshold}，遠不如簡單方法。",
    ),
}

ADVICE: Mapping[str, tuple[str, str, str]] = {
    "tie_again": (
        "Tie it again: commonweight.tie(model, equation).",
        "重新共享：commonweight.tie(model, equation)。",
        "重新共享：commonweight.tie(model, equation)。",
    ),
    "drop_duplicates": (
        "Take samples that occur twice out of the validation part.",
        "把重复的样本从验证集中去掉。",
        "把重複的樣本從驗證集中去掉。",
    ),
    "initialise": (
        "Begin with random weights scaled to the fan-in (He, Glorot).",
        "用按扇入缩放的随机权重（He、Glorot）重新开始。",
        "用按扇入縮放的隨機權重（He、Glorot）重新開始。",
    ),
    "remove_softmax": (
        "Take the softmax out of the net: the loss contains it.",
        "去掉网络中的 softmax：损失函数已包含它。",
        "去掉網路中的 softmax：損失函數已包含它。",
    ),
    "usual_loss": (
        "Take cross entropy for classes, mean squared error for quantities.",
        "分类用交叉熵，数值用均方误差。",
        "分類用交叉熵，數值用均方誤差。",
    ),
    "remove_last_activation": (
        "Take the activation behind the last layer away: quantities may lie outside its range.",
        "去掉最后一层之后的激活函数：数值可能超出其范围。",
        "去掉最後一層之後的激活函數：數值可能超出其範圍。",
    ),
    "larger_batch": (
        "Take batches of {batch_size}, or a net without batch normalisation.",
        "用大小为 {batch_size} 的批，或不带批归一化的网络。",
        "用大小為 {batch_size} 的批，或不帶批次正規化的網路。",
    ),
    "check_labels": (
        "Look whether labels and inputs are in the same order.",
        "检查标签与输入的顺序是否一致。",
        "檢查標籤與輸入的順序是否一致。",
    ),
    "normalise": (
        "Subtract the mean of each feature and divide by its deviation.",
        "每个特征减去均值再除以标准差。",
        "每個特徵減去均值再除以標準差。",
    ),
    "unfreeze": (
        "Let it learn: requires_grad_(True), and hand it to the optimiser.",
        "让它学习：requires_grad_(True)，并交给优化器。",
        "讓它學習：requires_grad_(True)，並交給最佳化器。",
    ),
    "add_activation": (
        "Put an activation between them, such as {name}.",
        "在它们之间加入激活函数，例如 {name}。",
        "在它們之間加入激活函數，例如 {name}。",
    ),
    "clear_the_way": (
        "Let the gradient through: ReLU instead of sigmoid, weights scaled to the fan-in, nothing detached.",
        "让梯度通过：用 ReLU 代替 sigmoid，权重按扇入缩放，不要截断梯度。",
        "讓梯度通過：用 ReLU 代替 sigmoid，權重按扇入縮放，不要截斷梯度。",
    ),
    "lower_rate": (
        "Lower the learning rate: multiply it by {factor}.",
        "把学习率降到原来的 {factor}。",
        "把學習率降到原來的 {factor}。",
    ),
    "raise_rate": (
        "Raise the learning rate: multiply it by {factor}.",
        "把学习率提高到原来的 {factor} 倍。",
        "把學習率提高到原來的 {factor} 倍。",
    ),
    "clean_labels": (
        "Look at the labels that contradict their neighbours, and correct them or leave them out.",
        "查看与近邻矛盾的标签，改正或去掉。",
        "查看與近鄰矛盾的標籤，改正或去掉。",
    ),
    "balance": (
        "Show rare classes more often, and collect more of them.",
        "让稀少的类别出现得更多，并收集更多样本。",
        "讓稀少的類別出現得更多，並收集更多樣本。",
    ),
    "drop_constant": (
        "Leave these columns out, or find out why they do not vary.",
        "去掉这些列，或查明其不变的原因。",
        "去掉這些欄，或查明其不變的原因。",
    ),
    "widen": (
        "Make the hidden layers {factor} times as wide.",
        "把隐藏层加宽到 {factor} 倍。",
        "把隱藏層加寬到 {factor} 倍。",
    ),
    "narrow": (
        "Make the hidden layers narrower, to {factor} of their width, or collect more data.",
        "把隐藏层缩窄到 {factor}，或收集更多数据。",
        "把隱藏層縮窄到 {factor}，或收集更多資料。",
    ),
    "regularise": (
        "Hold the weights back: weight decay, dropout, early stopping; or collect more data.",
        "约束权重：权重衰减、dropout、提前停止；或收集更多数据。",
        "約束權重：權重衰減、dropout、提前停止；或收集更多資料。",
    ),
    "longer": (
        "Train {factor} times as long, at the usual learning rate.",
        "用通常的学习率训练 {factor} 倍的时间。",
        "用通常的學習率訓練 {factor} 倍的時間。",
    ),
}


def say(finding: Finding, language: str = "en") -> str:
    """The finding and its advice as two sentences.

    Raises:
        TrainError: a language that there are no words in.

    >>> from commonweight.measure.diagnosis import Advice
    >>> say(Finding("frozen_layer", "conv1", 0.0, 0.0, 0, Advice("unfreeze")))
    'No step moves the weights of conv1. Let it learn: requires_grad_(True), and hand it to the optimiser.'
    """
    return f"{found(finding, language)}{' ' if language == 'en' else ''}{advised(finding, language)}"


def found(finding: Finding, language: str = "en") -> str:
    """What was found, as a sentence."""
    layer = finding.layer
    if finding.code == "wrong_loss" and layer:
        layer = f" ({layer})" if language == "en" else f"（{layer}）"
    value, threshold = f"{finding.value:.3g}", f"{finding.threshold:.3g}"
    words = FINDINGS[finding.code][_place(language)]
    return words.format(layer=layer, value=value, threshold=threshold, since=finding.since)


def advised(finding: Finding, language: str = "en") -> str:
    """What to do about it, as a sentence."""
    parameters = {key: f"{v:g}" if isinstance(v, float) else v for key, v in finding.advice.parameters.items()}
    return ADVICE[finding.advice.code][_place(language)].format(**parameters)


def _place(language: str) -> int:
    if language not in LANGUAGES:
        raise TrainError(f"The diagnosis speaks {', '.join(LANGUAGES)}; got {language!r}.")
    return LANGUAGES.index(language)
