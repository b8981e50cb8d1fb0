"""The words of the diagnosis, in one table: English, simplified Chinese, traditional Chinese.

A finding has the words of its code, or of `code.measured` where its rule has several measures. In them, {layer},
{value}, {threshold} and {since} are those of the finding, {percent} and {limit_percent} value and threshold as shares;
in an advice, names are its parameters. Values are written with three digits.
"""

from collections.abc import Mapping

from commonweight.errors import TrainError
from commonweight.measure.diagnosis.case import Case
from commonweight.measure.diagnosis.finding import Finding

LANGUAGES = ("en", "zh-Hans", "zh-Hant")
NOTHING = ("Nothing is wrong.", "没有发现问题。", "沒有發現問題。")
NOTHING_YET = (
    "Nothing is wrong so far, up to step {step} of {steps}.",
    "到第 {step} 步（共 {steps} 步）为止没有发现问题。",
    "到第 {step} 步（共 {steps} 步）為止沒有發現問題。",
)
TOO_EARLY = (
    "Too little was recorded to judge by: nothing is wrong up to step {step} of {steps}, but most rules speak only "
    "from half of them on.",
    "记录太少，还不能判断：到第 {step} 步（共 {steps} 步）为止没有发现问题，但多数规则要到训练过半才作判断。",
    "記錄太少，還不能判斷：到第 {step} 步（共 {steps} 步）為止沒有發現問題，但多數規則要到訓練過半才作判斷。",
)

FINDINGS: Mapping[str, tuple[str, str, str]] = {
    "broken_tie": (
        "The declared tie {layer} does not hold: two weights learn where one was meant.",
        "声明的权重共享 {layer} 并不成立：本应是一个权重，却有两个在学习。",
        "宣告的權重共享 {layer} 並不成立：本應是一個權重，卻有兩個在學習。",
    ),
    "leakage": (
        "{percent} of the validation samples are in the training part, too: the validation score flatters.",
        "验证样本中有 {percent} 也在训练集里：验证得分偏高。",
        "驗證樣本中有 {percent} 也在訓練集裡：驗證得分偏高。",
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
        "The loss does not fit the outputs: its descent does not lead to the targets (pull {value}, where 1 "
        "leads straight to them; at least {threshold} expected).",
        "损失函数与输出不相配：沿其下降方向到不了目标（牵引为 {value}，1 表示直达目标，应不小于 {threshold}）。",
        "損失函數與輸出不相配：沿其下降方向到不了目標（牽引為 {value}，1 表示直達目標，應不小於 {threshold}）。",
    ),
    "wrong_loss.squashed": (
        "The {layer} behind the last layer keeps the outputs in its range, where the loss wants them free.",
        "最后一层之后的 {layer} 限制了输出的范围，而损失函数要求输出不受限制。",
        "最後一層之後的 {layer} 限制了輸出的範圍，而損失函數要求輸出不受限制。",
    ),
    "small_batch_norm": (
        "{layer} normalises over batches of size {value}: their mean says nothing, and differs from that of the test.",
        "{layer} 对大小为 {value} 的批做批归一化：其均值没有意义，也与测试时不同。",
        "{layer} 對大小為 {value} 的批做批次正規化：其均值沒有意義，也與測試時不同。",
    ),
    "shuffled_labels": (
        "Labels hardly follow from inputs: neither neighbours (score {value}, limit {threshold}) nor a linear fit "
        "foretell them better than chance.",
        "标签与输入几乎无关：无论近邻（得分 {value}，界限 {threshold}）还是线性拟合，预测都不比随机好。",
        "標籤與輸入幾乎無關：無論近鄰（得分 {value}，界限 {threshold}）還是線性擬合，預測都不比隨機好。",
    ),
    "unnormalised_input.offset": (
        "The inputs are not normalised: the mean of a feature lies {value} of its deviations from 0 (limit "
        "{threshold}).",
        "输入没有归一化：某个特征的均值偏离 0 达 {value} 个标准差（界限 {threshold}）。",
        "輸入沒有正規化：某個特徵的均值偏離 0 達 {value} 個標準差（界限 {threshold}）。",
    ),
    "unnormalised_input.spread": (
        "The inputs are not normalised: one feature varies {value} times as much as another (limit {threshold}).",
        "输入没有归一化：一个特征的变化幅度是另一个的 {value} 倍（界限 {threshold}）。",
        "輸入沒有正規化：一個特徵的變化幅度是另一個的 {value} 倍（界限 {threshold}）。",
    ),
    "unnormalised_input.size": (
        "The inputs are not normalised: their root mean square is {value}, where about 1 is usual (limit {threshold}).",
        "输入没有归一化：其均方根为 {value}，通常约为 1（界限 {threshold}）。",
        "輸入沒有正規化：其均方根為 {value}，通常約為 1（界限 {threshold}）。",
    ),
    "unequal_start.large": (
        "The weights of {layer} begin too large: the signal of the samples leaves it {value} times as large as "
        "it came (limit {threshold}).",
        "{layer} 的初始权重太大：样本的信号通过它后放大到 {value} 倍（界限 {threshold}）。",
        "{layer} 的初始權重太大：樣本的訊號通過它後放大到 {value} 倍（界限 {threshold}）。",
    ),
    "unequal_start.small": (
        "The weights of {layer} begin too small: the signal of the samples leaves it {value} times as large as "
        "it came (limit {threshold}).",
        "{layer} 的初始权重太小：样本的信号通过它后只剩 {value} 倍（界限 {threshold}）。",
        "{layer} 的初始權重太小：樣本的訊號通過它後只剩 {value} 倍（界限 {threshold}）。",
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
        "{percent} of what {layer} is fed lies at the ends of its range {since} (limit {limit_percent}): slopes "
        "are near 0 there.",
        "{since}，{layer} 的输入有 {percent} 处于取值范围的两端（界限 {limit_percent}）：那里的斜率接近 0。",
        "{since}，{layer} 的輸入有 {percent} 處於取值範圍的兩端（界限 {limit_percent}）：那裡的斜率接近 0。",
    ),
    "dead_units": (
        "{percent} of the units that feed {layer} put out 0 for every sample {since} (limit {limit_percent}).",
        "{since}，{layer} 的输入单元中有 {percent} 对所有样本都输出 0（界限 {limit_percent}）。",
        "{since}，{layer} 的輸入單元中有 {percent} 對所有樣本都輸出 0（界限 {limit_percent}）。",
    ),
    "vanishing_gradient": (
        "The gradient vanishes on its way to {layer}: {value} of that of the last layer arrives (limit {threshold}).",
        "梯度在到达 {layer} 之前消失：只剩最后一层的 {value}（界限 {threshold}）。",
        "梯度在到達 {layer} 之前消失：只剩最後一層的 {value}（界限 {threshold}）。",
    ),
    "vanishing_gradient.cut": (
        "No gradient reaches {layer}: it is cut off on its way.",
        "没有梯度到达 {layer}：它在途中被截断。",
        "沒有梯度到達 {layer}：它在途中被截斷。",
    ),
    "not_finite": (
        "The loss is {value} {since}.",
        "{since}，损失为 {value}，不再是有限的数。",
        "{since}，損失為 {value}，不再是有限的數。",
    ),
    "not_finite.tensor": (
        "The loss is {value} {since}; the first tensor that is not finite: {layer}.",
        "{since}，损失为 {value}，不再是有限的数；首先出现的张量：{layer}。",
        "{since}，損失為 {value}，不再是有限的數；首先出現的張量：{layer}。",
    ),
    "exploding_gradient": (
        "The gradient of {layer} explodes: it is above {threshold} {since}, and as large as {value}.",
        "{layer} 的梯度爆炸：{since}超过 {threshold}，最大达 {value}。",
        "{layer} 的梯度爆炸：{since}超過 {threshold}，最大達 {value}。",
    ),
    "rate_too_high": (
        "The learning rate is too high: single steps change the weights by up to {percent} of their size (limit "
        "{limit_percent}, passed {since}).",
        "学习率太高：单独一步就使权重改变其大小的 {percent}（{since}超过界限 {limit_percent}）。",
        "學習率太高：單獨一步就使權重改變其大小的 {percent}（{since}超過界限 {limit_percent}）。",
    ),
    "rate_too_high.growth": (
        "The learning rate is too high: the weights of a layer have grown to {value} times their first size "
        "(limit {threshold}, passed {since}).",
        "学习率太高：某一层的权重增大到最初的 {value} 倍（{since}超过界限 {threshold}）。",
        "學習率太高：某一層的權重增大到最初的 {value} 倍（{since}超過界限 {threshold}）。",
    ),
    "rate_too_high.dead": (
        "The learning rate is too high: units that were alive have died, and {percent} of those that feed "
        "{layer} put out 0 {since}.",
        "学习率太高：原本活跃的单元已经失活，{since}，{layer} 的输入单元中有 {percent} 输出 0。",
        "學習率太高：原本活躍的單元已經失活，{since}，{layer} 的輸入單元中有 {percent} 輸出 0。",
    ),
    "rate_too_low": (
        "The learning rate is too low: no step that was looked at changes the weights by more than {percent} of "
        "their size (limit {limit_percent}).",
        "学习率太低：观察到的每一步对权重的改变都不超过其大小的 {percent}（界限 {limit_percent}）。",
        "學習率太低：觀察到的每一步對權重的改變都不超過其大小的 {percent}（界限 {limit_percent}）。",
    ),
    "label_noise": (
        "About {percent} of the labels contradict those of their neighbours (limit {limit_percent}).",
        "约 {percent} 的标签与其近邻的标签矛盾（界限 {limit_percent}）。",
        "約 {percent} 的標籤與其近鄰的標籤矛盾（界限 {limit_percent}）。",
    ),
    "class_imbalance": (
        "The rarest class has {percent} of the samples of the most frequent (limit {limit_percent}), and rare "
        "classes are recognised far worse.",
        "最少的类别只有最多类别样本数的 {percent}（界限 {limit_percent}），稀少的类别识别得差得多。",
        "最少的類別只有最多類別樣本數的 {percent}（界限 {limit_percent}），稀少的類別識別得差得多。",
    ),
    "constant_features": (
        "Columns that are constant in the training part tell nothing; {value} of them, such as: {layer}.",
        "训练集中恒定的列没有信息，共 {value} 个，例如：{layer}。",
        "訓練集中恆定的欄沒有資訊，共 {value} 個，例如：{layer}。",
    ),
    "net_too_small": (
        "The net is too small: the width of its narrowest hidden layer is {value} (at least {threshold} expected).",
        "网络太小：最窄的隐藏层宽度为 {value}（应不小于 {threshold}）。",
        "網路太小：最窄的隱藏層寬度為 {value}（應不小於 {threshold}）。",
    ),
    "net_too_large": (
        "The net is too large for the data: {value} weights for each training sample (limit {threshold}).",
        "网络对数据来说太大：每个训练样本对应 {value} 个权重（界限 {threshold}）。",
        "網路對資料來說太大：每個訓練樣本對應 {value} 個權重（界限 {threshold}）。",
    ),
    "overfit": (
        "The net overfits: its best score on the training part is {value} above its best on the validation part "
        "(limit {threshold}, passed {since}).",
        "过拟合：最好的训练得分比最好的验证得分高 {value}（{since}超过界限 {threshold}）。",
        "過擬合：最好的訓練得分比最好的驗證得分高 {value}（{since}超過界限 {threshold}）。",
    ),
    "no_progress": (
        "The training loss has not fallen: it is {percent} of what it began with.",
        "训练损失没有下降：仍为开始时的 {percent}。",
        "訓練損失沒有下降：仍為開始時的 {percent}。",
    ),
    "oscillation": (
        "The loss swings from step to step by at least {percent} of its mean {since} (limit {limit_percent}).",
        "{since}，损失逐步摆动，幅度至少为均值的 {percent}（界限 {limit_percent}）。",
        "{since}，損失逐步擺動，幅度至少為均值的 {percent}（界限 {limit_percent}）。",
    ),
    "plateau": (
        "The training loss stands still {since}, above where it could be.",
        "{since}，训练损失停滞，尚未达到可达到的水平。",
        "{since}，訓練損失停滯，尚未達到可達到的水準。",
    ),
    "underfit": (
        "The net underfits: even on its training part it scores {value}, where at least {threshold} is to be "
        "had: plain methods reach more.",
        "欠拟合：在训练集上得分也只有 {value}，而至少应达到 {threshold}：简单方法的得分更高。",
        "欠擬合：在訓練集上得分也只有 {value}，而至少應達到 {threshold}：簡單方法的得分更高。",
    ),
}

ADVICE: Mapping[str, tuple[str, str, str]] = {
    "tie_again": (
        "Tie it again: commonweight.tie(model, equation).",
        "重新共享：commonweight.tie(model, equation)。",
        "重新共享：commonweight.tie(model, equation)。",
    ),
    "drop_duplicates": (
        "Take samples that are in the training part, too, out of the validation part.",
        "把训练集中也有的样本从验证集中去掉。",
        "把訓練集中也有的樣本從驗證集中去掉。",
    ),
    "initialise": (
        "Draw the first weights again, as each layer does by itself; where one has no way of its own, by the "
        "rule {rule}.",
        "重新随机选取初始权重：各层用自己的方式，没有自己方式的层用 {rule}。",
        "重新隨機選取初始權重：各層用自己的方式，沒有自己方式的層用 {rule}。",
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
        "Take the activation behind the last layer away: the outputs are to take any value.",
        "去掉最后一层之后的激活函数：输出应能取任何值。",
        "去掉最後一層之後的激活函數：輸出應能取任何值。",
    ),
    "larger_batch": (
        "Take batches of {batch_size}, or a net without batch normalisation.",
        "用大小为 {batch_size} 的批，或不带批归一化的网络。",
        "用大小為 {batch_size} 的批，或不帶批次正規化的網路。",
    ),
    "check_labels": (
        "Look whether labels and inputs are in the same order; if they are, it takes other inputs or more samples.",
        "检查标签与输入的顺序是否一致；若一致，则需要别的输入或更多样本。",
        "檢查標籤與輸入的順序是否一致；若一致，則需要別的輸入或更多樣本。",
    ),
    "normalise": (
        "Subtract the mean of each feature and divide by its deviation.",
        "每个特征减去均值再除以标准差。",
        "每個特徵減去均值再除以標準差。",
    ),
    "unfreeze": (
        "Let every layer learn: requires_grad_(True), and hand all weights to the optimiser.",
        "让每一层都学习：requires_grad_(True)，并把所有权重交给优化器。",
        "讓每一層都學習：requires_grad_(True)，並把所有權重交給最佳化器。",
    ),
    "add_activation": (
        "Put an activation between them: {name}.",
        "在它们之间加入激活函数：{name}。",
        "在它們之間加入激活函數：{name}。",
    ),
    "clear_the_way": (
        "Take ReLU in the place of sigmoid and tanh, or the usual, shallower net, and draw the first weights "
        "again, as each layer does by itself (else by the rule {rule}).",
        "用 ReLU 代替 sigmoid 和 tanh，或改用层数较少的通常网络；各层用自己的方式（否则用 {rule}）重新选取初始权重。",
        "用 ReLU 代替 sigmoid 和 tanh，或改用層數較少的通常網路；各層用自己的方式（否則用 {rule}）重新選取初始權重。",
    ),
    "let_through": (
        "Take out what hands no gradient back ({modules}), such as a detach(), and draw the first weights again, "
        "as each layer does by itself (else by the rule {rule}).",
        "去掉不传回梯度的部分（{modules}），例如 detach()，并重新随机选取初始权重：各层用自己的方式（否则用 {rule}）。",
        "去掉不傳回梯度的部分（{modules}），例如 detach()，並重新隨機選取初始權重：各層用自己的方式（否則用 {rule}）。",
    ),
    "lower_rate": (
        "Lower the learning rate: multiply it by {factor}, or take the usual one of the update rule if that is "
        "lower still.",
        "降低学习率：乘以 {factor}；若更新规则的通常学习率更低，就用通常的。",
        "降低學習率：乘以 {factor}；若更新規則的通常學習率更低，就用通常的。",
    ),
    "raise_rate": (
        "Raise the learning rate: multiply it by {factor}, or take the usual one of the update rule if that is "
        "higher still.",
        "提高学习率：乘以 {factor}；若更新规则的通常学习率更高，就用通常的。",
        "提高學習率：乘以 {factor}；若更新規則的通常學習率更高，就用通常的。",
    ),
    "clean_labels": (
        "Look at the labels that contradict their neighbours: correct these samples, or leave them out.",
        "查看标签与近邻矛盾的样本：改正或去掉它们。",
        "查看標籤與近鄰矛盾的樣本：改正或去掉它們。",
    ),
    "balance": (
        "Repeat samples of rare classes until all classes are as frequent, or collect more of them.",
        "重复稀少类别的样本，直到各类别一样多，或收集更多样本。",
        "重複稀少類別的樣本，直到各類別一樣多，或收集更多樣本。",
    ),
    "drop_constant": (
        "Leave these columns out, or find out why they do not vary.",
        "去掉这些列，或查明其不变的原因。",
        "去掉這些欄，或查明其不變的原因。",
    ),
    "widen": (
        "Make the hidden layers {factor} times as wide, and at least as wide as usual.",
        "把隐藏层加宽到 {factor} 倍，且不小于通常的宽度。",
        "把隱藏層加寬到 {factor} 倍，且不小於通常的寬度。",
    ),
    "narrow": (
        "Make the hidden layers narrower: {factor} of their width; or collect more data.",
        "把隐藏层缩窄到原来宽度的 {factor}，或收集更多数据。",
        "把隱藏層縮窄到原來寬度的 {factor}，或收集更多資料。",
    ),
    "regularise": (
        "Hold the weights back by an L2 penalty: --l2 {l2}, or {factor} times what it was if that is more; or "
        "collect more data.",
        "用 L2 惩罚约束权重：--l2 {l2}；若原有惩罚的 {factor} 倍更大，就用后者；或收集更多数据。",
        "用 L2 懲罰約束權重：--l2 {l2}；若原有懲罰的 {factor} 倍更大，就用後者；或收集更多資料。",
    ),
    "longer": (
        "Train {factor} times as long, and no fewer epochs than usual, at the usual learning rate.",
        "用通常的学习率训练 {factor} 倍的时间，且不少于通常的轮数。",
        "用通常的學習率訓練 {factor} 倍的時間，且不少於通常的輪數。",
    ),
}


SINCE = (("from the start", "since step {}"), ("从一开始", "从第 {} 步起"), ("從一開始", "從第 {} 步起"))
"""Of what was so before the first step, and from a later one on."""


def say(finding: Finding, language: str = "en") -> str:
    """The finding and its advice as two sentences.

    Raises:
        TrainError: a language that there are no words in.

    >>> from commonweight.measure.diagnosis import Advice
    >>> say(Finding("leakage", "", 0.5, 0.1, 0, Advice("drop_duplicates")))[:70]
    '50 % of the validation samples are in the training part, too: the vali'
    """
    return f"{found(finding, language)}{' ' if language == 'en' else ''}{advised(finding, language)}"


def well(case: Case, language: str = "en") -> str:
    """That nothing was found, and how much of the training that was judged by, as a sentence.

    Raises:
        TrainError: a language that there are no words in.
    """
    words = TOO_EARLY if case.early else NOTHING_YET if case.goes_on else NOTHING
    return words[_place(language)].format(step=f"{case.last.step:,}", steps=f"{case.evidence.steps:,}")


def found(finding: Finding, language: str = "en") -> str:
    """What was found, as a sentence."""
    place = _place(language)
    words = FINDINGS[f"{finding.code}.{finding.measured}" if finding.measured else finding.code][place]
    value, threshold = finding.value, finding.threshold
    return words.format(
        layer=finding.layer,
        value=f"{value:.3g}",
        threshold=f"{threshold:.3g}",
        percent=f"{100 * value:.3g} %",
        limit_percent=f"{100 * threshold:.3g} %",
        since=SINCE[place][finding.since > 0].format(finding.since),
    )


def advised(finding: Finding, language: str = "en") -> str:
    """What to do about it, as a sentence."""
    parameters = {key: f"{v:g}" if isinstance(v, float) else v for key, v in finding.advice.parameters.items()}
    return ADVICE[finding.advice.code][_place(language)].format(**parameters)


def _place(language: str) -> int:
    if language not in LANGUAGES:
        raise TrainError(f"The diagnosis speaks {', '.join(LANGUAGES)}; got {language!r}.")
    return LANGUAGES.index(language)
