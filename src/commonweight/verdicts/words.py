"""What an audit says of ties and problems, in one table: English, simplified Chinese, traditional Chinese.

`say` makes a sentence from its key and its parts. It is an English text like any other, and `translated` gives it in
another language: parts that were said by keys come in that language, too, names and numbers as they are.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

LANGUAGES = ("en", "zh-Hans", "zh-Hant")


class Said(str):
    """An English text that knows its translations."""

    translations: Mapping[str, str] = MappingProxyType({})


def say(key: str, /, **parts: object) -> Said:
    """A sentence of the table, with its parts.

    >>> sentence = say("declared", equation="a = b", says=say("manifest"))
    >>> sentence
    '`a = b` is declared by the manifest of the file'
    >>> translated(sentence, "zh-Hans")
    '`a = b` 由文件的清单声明'
    """
    return _said(
        text.format(**{name: translated(part, language) for name, part in parts.items()})
        for language, text in zip(LANGUAGES, TEXTS[key], strict=True)
    )


def translated(text: object, language: str) -> str:
    """A text in one of `LANGUAGES`; one that was not said by a key, as it is."""
    return text.translations.get(language, str(text)) if isinstance(text, Said) else str(text)


def without_brackets(text: str) -> Said:
    """A text without what stands in brackets, nor spaces at its ends, in each language.

    >>> without_brackets(say("in_detail", label="model.pt", text=say("one_tensor")))
    'model.pt'
    """
    return _said(re.sub(r" \(.*?\)|（.*?）", "", translated(text, language)).strip() for language in LANGUAGES)


def _said(texts: Iterable[str]) -> Said:
    """One text in each of `LANGUAGES`, as the English one that knows the others."""
    translations = dict(zip(LANGUAGES, texts, strict=True))
    said = Said(translations["en"])
    said.translations = MappingProxyType(translations)
    return said


def listed(names: Sequence[str], most: int = 6) -> Said:
    """Names for a sentence: the first ones, and how many more.

    >>> listed(["a", "b", "c"], most=2)
    '`a`, `b` and 1 more'
    """
    shown = ", ".join(f"`{name}`" for name in names[:most])
    key = "names_and_more" if len(names) > most else "names"
    return say(key, names=shown, more=f"{len(names) - most:,}")


TEXTS: Mapping[str, tuple[str, str, str]] = {
    "names": ("{names}", "{names}", "{names}"),
    "names_and_more": ("{names} and {more} more", "{names} 等另外 {more} 个", "{names} 等另外 {more} 個"),
    "both": ("{one} and {other}", "{one} 和 {other}", "{one} 和 {other}"),
    "sentence": ("{declared}, but {fact}", "{declared}，但{fact}", "{declared}，但{fact}"),
    # who declares a tie
    "declared": ("`{equation}` is declared by {says}", "`{equation}` 由{says}声明", "`{equation}` 由{says}宣告"),
    "holds": ("`{equation}` holds in {says}", "`{equation}` 在 {says} 中成立", "`{equation}` 在 {says} 中成立"),
    "manifest": ("the manifest of the file", "文件的清单", "檔案的清單"),
    "metadata": ("the metadata of the file", "文件的元数据", "檔案的中繼資料"),
    "config": ("config.json ({flag}: {value})", " config.json（{flag}: {value}）", " config.json（{flag}: {value}）"),
    "default": (
        "the default of {kind} (config.json has no {flag})",
        " {kind} 的默认设置（config.json 中没有 {flag}）",
        " {kind} 的預設（config.json 中沒有 {flag}）",
    ),
    "keys": ("_tied_weights_keys of {kind}", " {kind} 的 _tied_weights_keys ", " {kind} 的 _tied_weights_keys "),
    "in_detail": ("{label} ({text})", "{label}（{text}）", "{label}（{text}）"),
    # the columns: who wants a tie, and what is in memory or in a file
    "tied_by": ("tied: {by}", "共享：{by}", "共享：{by}"),
    "not_tied_by": ("not tied: {by}", "不共享：{by}", "不共享：{by}"),
    "stored_once": ("stored once", "只存了一份", "只存了一份"),
    "stored_as_alias": ("stored once, as the alias", "只存了一份，用别名", "只存了一份，用別名"),
    "two_names": ("one tensor, two names", "一个张量，两个名字", "一個張量，兩個名字"),
    "one_tensor": ("one tensor", "一个张量", "一個張量"),
    "one_module": ("one module", "一个模块", "一個模組"),
    "one_parameter": ("one Parameter", "一个 Parameter", "一個 Parameter"),
    "parameters_on_one_memory": (
        "two Parameters on one memory",
        "同一内存上的两个 Parameter",
        "同一記憶體上的兩個 Parameter",
    ),
    "computed": ("computed from its owner", "由其拥有者算出", "由其擁有者算出"),
    "copies": ("equal copies", "相等的副本", "相等的副本"),
    "equal_copies": ("{count} equal copies", "{count} 个相等的副本", "{count} 個相等的副本"),
    "equal_turned": ("equal when turned", "变换后相等", "變換後相等"),
    "equal_values": ("two, equal values", "两个，数值相等", "兩個，數值相等"),
    "equal_start": (
        "two, equal in the first {rows} of {all} rows",
        "两个，前 {rows} 行（共 {all} 行）相等",
        "兩個，前 {rows} 列（共 {all} 列）相等",
    ),
    "rows_reordered": ("two, rows in another order", "两个，行的次序不同", "兩個，列的次序不同"),
    "apart": ("two, max |Δ| {delta}", "两个，max |Δ| {delta}", "兩個，max |Δ| {delta}"),
    "two_unread": ("two, not compared", "两个，没有比较", "兩個，沒有比較"),
    "two_unfilled": ("two, without values", "两个，没有数值", "兩個，沒有數值"),
    "no_head": ("no head", "没有输出层", "沒有輸出層"),
    "a_head": ("a head", "有输出层", "有輸出層"),
    # what is wrong with a declared tie
    "missing": ("in {label}: {text}.", "在 {label} 中：{text}。", "在 {label} 中：{text}。"),
    "no_name": ("no {name}", "没有 {name}", "沒有 {name}"),
    "neither": ("neither is there", "两个都没有", "兩個都沒有"),
    "only_part": ("only a part is there", "只有一部分", "只有一部分"),
    "shapes": ("shapes {one} and {other}", "形状 {one} 与 {other}", "形狀 {one} 和 {other}"),
    "two_unequal": ("two, not equal", "两个，且不相等", "兩個，且不相等"),
    "unfilled": (
        "{label} has two tensors without values (on the meta device), which will be filled apart.",
        "{label} 有两个没有数值的张量（在 meta 设备上），它们将被分别填充。",
        "{label} 有兩個沒有數值的張量（在 meta 裝置上），它們將被分別填入。",
    ),
    "instead": (
        "in {label} it is `{instead}` that holds.",
        "在 {label} 中成立的是 `{instead}`。",
        "在 {label} 中成立的是 `{instead}`。",
    ),
    "copies_part": (
        "{label} has two tensors with equal values, which training moves apart.",
        "{label} 有两个数值相等的张量，训练会使它们分开。",
        "{label} 有兩個數值相等的張量，訓練會使它們分開。",
    ),
    "not_compared": (
        "{label} has two tensors, whose values were not compared.",
        "{label} 有两个张量，其数值没有比较。",
        "{label} 有兩個張量，其數值沒有比較。",
    ),
    "permuted": (
        "in {label} the two have the same rows in different orders: they count tokens or units differently.",
        "在 {label} 中两者的行相同而次序不同：它们对词元或单元的编号不同。",
        "在 {label} 中兩者的列相同而次序不同：它們對詞元或單元的編號不同。",
    ),
    "rounded": (
        "in {label} the two differ by rounding, up to {delta}: loaders that compare them do not tie them.",
        "在 {label} 中两者因舍入而相差至多 {delta}：会作比较的加载程序不会把它们合为一个。",
        "在 {label} 中兩者因捨入而相差至多 {delta}：會作比較的載入程式不會把它們合為一個。",
    ),
    "cannot": (
        "in {label} they cannot be one: {text}.",
        "在 {label} 中它们不可能是一个：{text}。",
        "在 {label} 中它們不可能是一個：{text}。",
    ),
    "differ": (
        "in {label} the two differ by up to {delta}.",
        "在 {label} 中两者相差至多 {delta}。",
        "在 {label} 中兩者相差至多 {delta}。",
    ),
    "differ_in_file": (
        "in {label} the two differ by up to {delta}. A loader that ties them keeps one and drops the other without a "
        "word.",
        "在 {label} 中两者相差至多 {delta}。把它们合为一个的加载程序会留下一个，悄悄丢掉另一个。",
        "在 {label} 中兩者相差至多 {delta}。把它們合為一個的載入程式會留下一個，悄悄丟掉另一個。",
    ),
    "head_missing": (
        "{says} says that `{alias}` has weights of its own, but {label} does not hold it: a loader fills it with "
        "random ones.",
        "按照{says}，`{alias}` 有自己的权重，但 {label} 中没有它：加载程序会用随机数填充。",
        "按照{says}，`{alias}` 有自己的權重，但 {label} 中沒有它：載入程式會用亂數填入。",
    ),
    "has_it": ("{declared}, and {label} has it", "{declared}，{label} 中也有", "{declared}，{label} 中也有"),
    "two_parameters": (
        "{start}, but as two Parameters on one memory: an optimiser steps it twice, each has its own gradient, and "
        "saving refuses it.",
        "{start}，但却是同一内存上的两个 Parameter：优化器会更新它两次，两者各有各的梯度，保存时会被拒绝。",
        "{start}，但卻是同一記憶體上的兩個 Parameter：最佳化器會更新它兩次，兩者各有各的梯度，儲存時會被拒絕。",
    ),
    # what to do about a declared tie
    "save_again": (
        "Save the whole model again, or correct the declaration.",
        "重新保存整个模型，或更正声明。",
        "重新儲存整個模型，或更正宣告。",
    ),
    "declare_instead": (
        "Declare `{instead}`, or bring the tensor into the declared form before it is saved.",
        "改为声明 `{instead}`，或在保存前把张量变成所声明的形式。",
        "改為宣告 `{instead}`，或在儲存前把張量變成所宣告的形式。",
    ),
    "one_order": (
        "Bring the rows into one order before saving; until then each needs its own tensor.",
        "保存前把行排成同一次序；在那之前两者各需一个张量。",
        "儲存前把列排成同一次序；在那之前兩者各需一個張量。",
    ),
    "tie_now": (
        'cw.tie(model, "{equation}", keep="source") makes them one weight.',
        'cw.tie(model, "{equation}", keep="source") 使它们成为一个权重。',
        'cw.tie(model, "{equation}", keep="source") 使它們成為一個權重。',
    ),
    "tie_or_untie": (
        'Either cw.tie(model, "{equation}", keep="source") makes them one again, or cw.untie(model, "{alias}") lets '
        "them differ.",
        '用 cw.tie(model, "{equation}", keep="source") 使它们重新成为一个，'
        '或用 cw.untie(model, "{alias}") 允许它们不同。',
        '用 cw.tie(model, "{equation}", keep="source") 使它們重新成為一個，'
        '或用 cw.untie(model, "{alias}") 允許它們不同。',
    ),
    "tie_weights": (
        "Either model.tie_weights() makes them one again, or config.{flag} = False lets them differ.",
        "用 model.tie_weights() 使它们重新成为一个，或用 config.{flag} = False 允许它们不同。",
        "用 model.tie_weights() 使它們重新成為一個，或用 config.{flag} = False 允許它們不同。",
    ),
    "tie_there": (
        "Tie them there too, or give both a weight of their own here.",
        "在那里也把它们合为一个，或在这里让两者各有自己的权重。",
        "在那裡也把它們合為一個，或在這裡讓兩者各有自己的權重。",
    ),
    "save_holding": (
        "Save it again from a model whose ties hold (cw.check finds out).",
        "从一个共享成立的模型重新保存（用 cw.check 检查）。",
        "從一個共享成立的模型重新儲存（用 cw.check 檢查）。",
    ),
    "stale_or_false": (
        'If they are one weight, delete the stale one from the file; if both are meant, set "{flag}": false in '
        "config.json.",
        '如果它们是一个权重，从文件中删去过时的那个；如果两个都要，在 config.json 中设 "{flag}": false。',
        '如果它們是一個權重，從檔案中刪去過時的那個；如果兩個都要，在 config.json 中設 "{flag}": false。',
    ),
    "false_or_stale": (
        'If both tensors are meant, set "{flag}": false in config.json; if not, delete the stale one.',
        '如果两个张量都要，在 config.json 中设 "{flag}": false；否则删去过时的那个。',
        '如果兩個張量都要，在 config.json 中設 "{flag}": false；否則刪去過時的那個。',
    ),
    "head_remedy": (
        'If the model was tied when it was saved, set "{flag}": true in config.json; if not, save it with its head.',
        '如果模型保存时是共享的，在 config.json 中设 "{flag}": true；否则连同输出层一起保存。',
        '如果模型儲存時是共享的，在 config.json 中設 "{flag}": true；否則連同輸出層一起儲存。',
    ),
    # what one side lacks against another
    "absent": (
        "{other} has {names}; {subject} has not, and no tie that it knows speaks for {them}.",
        "{other} 有 {names}；{subject} 没有，它所知的共享中也没有能代替的。",
        "{other} 有 {names}；{subject} 沒有，它所知的共享中也沒有能代替的。",
    ),
    "extra": (
        "{subject} has {names}, for which {other} has nothing.",
        "{subject} 有 {names}，{other} 中没有对应的。",
        "{subject} 有 {names}，{other} 中沒有對應的。",
    ),
    "extra_random": (
        "{subject} has {names}, for which {other} has nothing: loaded from {other}, they keep their first, random "
        "values.",
        "{subject} 有 {names}，{other} 中没有对应的：从 {other} 加载后，它们仍是最初的随机数。",
        "{subject} 有 {names}，{other} 中沒有對應的：從 {other} 載入後，它們仍是最初的亂數。",
    ),
    "same_architecture": (
        "Check that both are of one architecture and whole.",
        "检查两者是否架构相同且完整。",
        "檢查兩者是否架構相同且完整。",
    ),
    "other_shapes": (
        "{names} have other shapes in {subject} than in {other}, the first {one} and {two}.",
        "{names} 在 {subject} 中与在 {other} 中形状不同，第一个是 {one} 与 {two}。",
        "{names} 在 {subject} 中和在 {other} 中形狀不同，第一個是 {one} 和 {two}。",
    ),
    "resized": (
        "Check that both are of one architecture, and that the embeddings were resized in both or in neither.",
        "检查两者是否架构相同，嵌入层是否都改过大小或都没改过。",
        "檢查兩者是否架構相同，嵌入部分是否都改過大小或都沒改過。",
    ),
    "other_values": (
        "{count} of {all} tensors have other values in {subject} than in {other}{largest}: {names}.",
        "{all} 个张量中有 {count} 个在 {subject} 中与在 {other} 中数值不同{largest}：{names}。",
        "{all} 個張量中有 {count} 個在 {subject} 中和在 {other} 中數值不同{largest}：{names}。",
    ),
    "by_up_to": (
        ", by up to {delta} in `{name}`",
        "，在 `{name}` 中相差至多 {delta}",
        "，在 `{name}` 中相差至多 {delta}",
    ),
    "give_before": (
        "If the one was trained further than the other, give that one as `before`; if not, load or save it again.",
        "如果一个比另一个多训练了一些，把另一个作为 `before` 给出；否则重新加载或保存。",
        "如果一個比另一個多訓練了一些，把另一個作為 `before` 給出；否則重新載入或儲存。",
    ),
    # what did not move, was altered, or was never written
    "still": (
        "{count} of {all} tensors did not move since {earlier}: {names}.",
        "{all} 个张量中有 {count} 个自 {earlier} 以来没有变动：{names}。",
        "{all} 個張量中有 {count} 個自 {earlier} 以來沒有變動：{names}。",
    ),
    "frozen": (
        "If they were frozen on purpose, all is well; if not, see that each process's optimiser has them.",
        "如果是有意冻结的，就没有问题；否则检查每个进程的优化器里有没有它们。",
        "如果是有意凍結的，就沒有問題；否則檢查每個行程的最佳化器裡有沒有它們。",
    ),
    "still_rows": (
        "{count} of {all} rows of the tied `{name}` did not move since {earlier} ({span}), although the others did: a "
        "process did not update its part.",
        "共享的 `{name}` 的 {all} 行中有 {count} 行自 {earlier} 以来没有变动（{span}），其余的都变了："
        "有一个进程没有更新它那部分。",
        "共享的 `{name}` 的 {all} 列中有 {count} 列自 {earlier} 以來沒有變動（{span}），其餘的都變了："
        "有一個行程沒有更新它那部分。",
    ),
    "rows": ("rows {first} to {last}", "第 {first} 至 {last} 行", "第 {first} 至 {last} 列"),
    "row": ("row {first}", "第 {first} 行", "第 {first} 列"),
    "tie_before_sharding": (
        "Tie before the model is sharded, and wrap all users of a tied weight in one group (cw.parallel.fsdp_groups).",
        "在模型切分之前建立共享，并把共享权重的所有使用者包在同一组里（cw.parallel.fsdp_groups）。",
        "在模型切分之前建立共享，並把共享權重的所有使用者包在同一組裡（cw.parallel.fsdp_groups）。",
    ),
    "altered": (
        "{names} in {subject} {are} not what the manifest of the file says: it was damaged, or changed by a program "
        "that does not know the manifest.",
        "{subject} 中的 {names} 与文件的清单不符：它已损坏，或被不认识清单的程序改动过。",
        "{subject} 中的 {names} 和檔案的清單不符：它已損壞，或被不認識清單的程式改動過。",
    ),
    "copy_again": (
        "Copy it again from where it came; if the change was meant, save the model with cw.save.",
        "从来源重新复制；如果改动是有意的，用 cw.save 保存模型。",
        "從來源重新複製；如果改動是有意的，用 cw.save 儲存模型。",
    ),
    "not_finite": (
        "{names} {have} values that are {what} in {subject}: nobody wrote {them}, or training broke.",
        "{subject} 中的 {names} 含有{what}：从未写入过数值，或训练已经崩坏。",
        "{subject} 中的 {names} 含有{what}：從未寫入過數值，或訓練已經崩壞。",
    ),
    "never_written": (
        "{names} {are} {what} in {subject}: nobody wrote {them}, or training broke.",
        "{subject} 中的 {names} {what}：从未写入过数值，或训练已经崩坏。",
        "{subject} 中的 {names} {what}：從未寫入過數值，或訓練已經崩壞。",
    ),
    "NaN": ("NaN", "非数（NaN）", "非數（NaN）"),
    "infinite": ("infinite", "无穷大", "無窮大"),
    "all zero": ("all zero", "全为零", "全為零"),
    "constant": ("constant", "是常数", "是常數"),
    "on meta": ("on meta", "在 meta 设备上", "在 meta 裝置上"),
    "load_again": (
        "Load it from where it was trained; if it is meant to be so, it need not be stored.",
        "从训练它的地方重新加载；如果本该如此，就不必存储。",
        "從訓練它的地方重新載入；如果本該如此，就不必儲存。",
    ),
    # what else could be tied, where no equation or call says it, and what was not looked at
    "reordered_rows": (
        "{equation}, with its {count} rows in another order",
        "{equation}，其 {count} 行的次序不同",
        "{equation}，其 {count} 列的次序不同",
    ),
    "reordered_columns": (
        "{equation}, with its {count} columns in another order",
        "{equation}，其 {count} 列的次序不同",
        "{equation}，其 {count} 行的次序不同",
    ),
    "reordered_neurons": (
        "{equations}, with the {count} neurons between them in another order",
        "{equations}，其间 {count} 个神经元的次序不同",
        "{equations}，其間 {count} 個神經元的次序不同",
    ),
    "rows_of_others": (
        "{again} of the {count} rows of `{name}` are rows of {sources}",
        "`{name}` 的 {count} 行中有 {again} 行是 {sources} 的行",
        "`{name}` 的 {count} 列中有 {again} 列是 {sources} 的列",
    ),
    "columns_of_others": (
        "{again} of the {count} columns of `{name}` are columns of {sources}",
        "`{name}` 的 {count} 列中有 {again} 列是 {sources} 的列",
        "`{name}` 的 {count} 行中有 {again} 行是 {sources} 的行",
    ),
    "different_rows": (
        "`{name}` has {kept} different rows among {count}",
        "`{name}` 的 {count} 行中有 {kept} 行不同",
        "`{name}` 的 {count} 列中有 {kept} 列不同",
    ),
    "different_columns": (
        "`{name}` has {kept} different columns among {count}",
        "`{name}` 的 {count} 列中有 {kept} 列不同",
        "`{name}` 的 {count} 行中有 {kept} 行不同",
    ),
    "config_beside": (
        "{file} lies beside it and was not read; audit the folder to see whether they agree.",
        "旁边的 {file} 没有读；审计整个文件夹，可看两者是否一致。",
        "旁邊的 {file} 沒有讀；審計整個資料夾，可看兩者是否一致。",
    ),
}
"""By key, in the order of `LANGUAGES`; parts in braces."""
