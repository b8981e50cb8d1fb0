"""What the lab cannot do, in one table: English, simplified Chinese, traditional Chinese.

A refusal has a code and its parts, and with them the words of the table. Sentences that come from elsewhere in the
library are in English only; the page says so before it shows one.
"""

from collections.abc import Mapping

from commonweight.errors import CommonweightError, LabError
from commonweight.verdicts.words import LANGUAGES


class RefusalError(LabError):
    """A refusal, said in every language of the page; as text it is English.

    Args:
        code: its place in `TEXTS`.
        parts: names and numbers in its sentence; an error among them comes in the same language, if it can.

    Attributes:
        said: the sentence by language.

    >>> refused = RefusalError("no_run", name="'digits'")
    >>> str(refused)
    "There is no run 'digits' in the folder that this lab may read."
    >>> refused.said["zh-Hans"]
    "本实验室可读的文件夹里没有训练记录 'digits'。"
    """

    def __init__(self, code: str, /, **parts: object) -> None:
        self.code = code
        self.said = {
            language: text.format(**{name: _part(part, language) for name, part in parts.items()})
            for language, text in zip(LANGUAGES, TEXTS[code], strict=True)
        }
        super().__init__(self.said["en"])


def said(error: CommonweightError) -> dict[str, str]:
    """The sentence of an error in the languages that it is known in: all of them, or English alone."""
    return error.said if isinstance(error, RefusalError) else {"en": str(error)}


def quoted(text: str, most: int = 40) -> str:
    """A word that somebody gave, as a sentence may show it: in quotes, and not longer than that.

    >>> quoted("dance")
    "'dance'"
    """
    return repr(text[:most])


def _part(part: object, language: str) -> object:
    if not isinstance(part, CommonweightError):
        return part
    sentences = said(part)
    return sentences.get(language, sentences["en"])


TEXTS: Mapping[str, tuple[str, str, str]] = {
    # settings
    "settings_no_object": (
        "Settings are an object with a value for each name; got {got}.",
        "设置是一个对象，每个名称有一个值；收到的是 {got}。",
        "設定是一個物件，每個名稱有一個值；收到的是 {got}。",
    ),
    "no_setting": (
        "There is no setting {name} here: there are {names}.",
        "这里没有名为 {name} 的设置；有：{names}。",
        "這裡沒有名為 {name} 的設定；有：{names}。",
    ),
    "choice": (
        "{name} is one of {options}; got {got}.",
        "{name} 只能是 {options} 之一；收到的是 {got}。",
        "{name} 只能是 {options} 之一；收到的是 {got}。",
    ),
    "whole": (
        "{name} is a whole number from {low} to {high}; got {got}.",
        "{name} 是从 {low} 到 {high} 的整数；收到的是 {got}。",
        "{name} 是從 {low} 到 {high} 的整數；收到的是 {got}。",
    ),
    "whole_steps": (
        "{name} is a whole number from {low} to {high} in steps of {step}; got {got}.",
        "{name} 是从 {low} 到 {high} 的整数，每次加 {step}；收到的是 {got}。",
        "{name} 是從 {low} 到 {high} 的整數，每次加 {step}；收到的是 {got}。",
    ),
    "real": (
        "{name} is a number from {low} to {high}; got {got}.",
        "{name} 是从 {low} 到 {high} 的数；收到的是 {got}。",
        "{name} 是從 {low} 到 {high} 的數；收到的是 {got}。",
    ),
    "sizes": (
        "{name} is at most {most} whole numbers from {low} to {high}; got {got}.",
        "{name} 最多是 {most} 个从 {low} 到 {high} 的整数；收到的是 {got}。",
        "{name} 最多是 {most} 個從 {low} 到 {high} 的整數；收到的是 {got}。",
    ),
    "points": (
        "{name} is at most {most} points (x, y, class), x and y from -2 to 2, of class 0 or 1; got {got}.",
        "{name} 最多是 {most} 个点 (x, y, 类别)，x 和 y 从 -2 到 2，类别是 0 或 1；收到的是 {got}。",
        "{name} 最多是 {most} 個點 (x, y, 類別)，x 和 y 從 -2 到 2，類別是 0 或 1；收到的是 {got}。",
    ),
    "text": (
        "{name} is a text of at most {most} letters; got {got}.",
        "{name} 是最多 {most} 个字符的文本；收到的是 {got}。",
        "{name} 是最多 {most} 個字元的文字；收到的是 {got}。",
    ),
    "no_action": (
        "Here one can do {actions}; got {got}.",
        "这里可以做的是 {actions}；收到的是 {got}。",
        "這裡可以做的是 {actions}；收到的是 {got}。",
    ),
    # views and pages
    "no_view": (
        "There is no view {view}: there are {views}.",
        "没有视图 {view}；有：{views}。",
        "沒有檢視 {view}；有：{views}。",
    ),
    "open_first": ("Open a view first.", "请先打开一个视图。", "請先打開一個檢視。"),
    "subject_too_long": (
        "What a view is opened for is named with at most {most} letters.",
        "打开视图所用的名称最多 {most} 个字符。",
        "打開檢視所用的名稱最多 {most} 個字元。",
    ),
    "no_subject": (
        "The view {view} is opened for nothing but itself; got {subject}.",
        "视图 {view} 不接受别的名称；收到的是 {subject}。",
        "檢視 {view} 不接受別的名稱；收到的是 {subject}。",
    ),
    "subject_no_upload": (
        "The view {view} is opened for a file that was uploaded, or for nothing; got {subject}.",
        "视图 {view} 只能为上传的文件打开，或不带名称；收到的是 {subject}。",
        "檢視 {view} 只能為上傳的檔案打開，或不帶名稱；收到的是 {subject}。",
    ),
    "too_many_pages": (
        "This lab shows itself to at most {most} pages: close one.",
        "本实验室最多同时有 {most} 个页面：请关闭一个。",
        "本實驗室最多同時有 {most} 個頁面：請關閉一個。",
    ),
    "too_many_jobs": (
        "This lab works on at most {most} things at once: close a page that shows another one.",
        "本实验室最多同时进行 {most} 项工作：请关闭一个显示别的工作的页面。",
        "本實驗室最多同時進行 {most} 項工作：請關閉一個顯示別的工作的頁面。",
    ),
    "too_much": (
        "That was too much at once: this page is cut off; load it again.",
        "一次收到的太多：本页的连接已断开，请重新载入。",
        "一次收到的太多：本頁的連線已斷開，請重新載入。",
    ),
    "message_no_object": (
        "A message is a JSON object with a type; got {got}.",
        "消息是带有 type 的 JSON 对象；收到的是 {got}。",
        "訊息是帶有 type 的 JSON 物件；收到的是 {got}。",
    ),
    "message_too_deep": (
        "A message has at most {most} lists and objects within each other; this one has more.",
        "消息中的列表和对象最多嵌套 {most} 层；这一条更深。",
        "訊息中的清單和物件最多巢狀 {most} 層；這一條更深。",
    ),
    "no_message": (
        "A message is {types}; got {got}.",
        "消息可以是 {types}；收到的是 {got}。",
        "訊息可以是 {types}；收到的是 {got}。",
    ),
    "given_no_object": (
        "What is given to an action is an object; got {got}.",
        "交给动作的是一个对象；收到的是 {got}。",
        "交給動作的是一個物件；收到的是 {got}。",
    ),
    "worker_busy": (
        "The worker is busy and takes no more commands now: wait a moment, or stop it.",
        "训练进程正忙，现在不接受更多命令：请稍候，或停止它。",
        "訓練行程正忙，現在不接受更多命令：請稍候，或停止它。",
    ),
    "no_worker": (
        "No worker can be started ({reason}): close something, then open it again.",
        "无法启动训练进程（{reason}）：请关闭一些程序，再重新打开。",
        "無法啟動訓練行程（{reason}）：請關閉一些程式，再重新打開。",
    ),
    # files and runs
    "no_file": (
        "There is no file or folder {name} in the folder that this lab may read.",
        "本实验室可读的文件夹里没有文件或文件夹 {name}。",
        "本實驗室可讀的資料夾裡沒有檔案或資料夾 {name}。",
    ),
    "no_run": (
        "There is no run {name} in the folder that this lab may read.",
        "本实验室可读的文件夹里没有训练记录 {name}。",
        "本實驗室可讀的資料夾裡沒有訓練記錄 {name}。",
    ),
    "damaged_run": (
        "The run {name} is damaged: its run.json or records.jsonl is not what a training writes; train it anew.",
        "训练记录 {name} 已损坏：它的 run.json 或 records.jsonl 不是训练写出的内容；请重新训练。",
        "訓練記錄 {name} 已損壞：它的 run.json 或 records.jsonl 不是訓練寫出的內容；請重新訓練。",
    ),
    "link_leads_out": (
        "{name} holds the link {link}, which leads out of the folder that this lab may read: copy there what it leads "
        "to, or start the lab with a folder that holds both.",
        "{name} 里的链接 {link} 通向本实验室可读的文件夹之外：请把它所指的内容复制进来，"
        "或用同时包含两者的文件夹启动实验室。",
        "{name} 裡的連結 {link} 通向本實驗室可讀的資料夾之外：請把它所指的內容複製進來，"
        "或用同時包含兩者的資料夾啟動實驗室。",
    ),
    "no_data": (
        "{name} is neither a table ({ends}) nor a folder with a folder of pictures for each class: choose another one.",
        "{name} 既不是表格（{ends}），也不是每个类别一个图片文件夹的文件夹：请另选一个。",
        "{name} 既不是表格（{ends}），也不是每個類別一個圖片資料夾的資料夾：請另選一個。",
    ),
    "no_own_data": (
        "{folder} holds no table and no folder of pictures: give the lab a folder that does (commonweight lab FOLDER), "
        "or choose a file.",
        "{folder} 里没有表格，也没有图片文件夹：请用有这些的文件夹启动实验室（commonweight lab 文件夹），"
        "或选择一个文件。",
        "{folder} 裡沒有表格，也沒有圖片資料夾：請用有這些的資料夾啟動實驗室（commonweight lab 資料夾），"
        "或選擇一個檔案。",
    ),
    "no_classes": (
        "{name} has values to predict; this view shows classes.",
        "{name} 要预测的是数值；这个视图只显示类别。",
        "{name} 要預測的是數值；這個檢視只顯示類別。",
    ),
    "upload_gone": (
        "This file was uploaded to a lab that has ended, or made room for others: give it again.",
        "这个文件是交给一个已结束的实验室的，或已为别的文件让位：请重新给出。",
        "這個檔案是交給一個已結束的實驗室的，或已為別的檔案讓位：請重新給出。",
    ),
    "upload_name": (
        "A file for the lab has a plain name that ends in {ends}; got {name}: rename it, or start the lab with its "
        "folder.",
        "交给实验室的文件要有普通的名称，结尾是 {ends}；收到的是 {name}：请改名，或用它所在的文件夹启动实验室。",
        "交給實驗室的檔案要有普通的名稱，結尾是 {ends}；收到的是 {name}：請改名，或用它所在的資料夾啟動實驗室。",
    ),
    "folder_name": (
        "A folder for the lab has a plain name of at most 100 letters; got {name}: rename it.",
        "交给实验室的文件夹要有普通的名称，最多 100 个字符；收到的是 {name}：请改名。",
        "交給實驗室的資料夾要有普通的名稱，最多 100 個字元；收到的是 {name}：請改名。",
    ),
    "upload_under_way": (
        "Another file is on its way to the lab: try again when it has come.",
        "另一个文件正在交给实验室：请等它到达后再试。",
        "另一個檔案正在交給實驗室：請等它到達後再試。",
    ),
    "upload_not_kept": (
        "The lab cannot keep {name}: {reason}.",
        "实验室无法保存 {name}：{reason}。",
        "實驗室無法保存 {name}：{reason}。",
    ),
    "upload_stopped": (
        "Nothing more of it came for {seconds} s: give it again.",
        "已有 {seconds} 秒没有收到后续内容：请重新给出。",
        "已有 {seconds} 秒沒有收到後續內容：請重新給出。",
    ),
    "upload_too_large": (
        "The lab takes at most {most} MB at once, and this is more: start the lab with it (commonweight lab PATH), and "
        "it is read where it lies.",
        "实验室一次最多接受 {most} MB，这个更大：请用它启动实验室（commonweight lab 路径），就地读取。",
        "實驗室一次最多接受 {most} MB，這個更大：請用它啟動實驗室（commonweight lab 路徑），就地讀取。",
    ),
    "pictures_cut_off": (
        "The pictures of {name} were cut off on their way: {bytes} bytes were to come; give the folder again.",
        "{name} 的图片在途中中断：应有 {bytes} 字节；请重新给出这个文件夹。",
        "{name} 的圖片在途中中斷：應有 {bytes} 位元組；請重新給出這個資料夾。",
    ),
    "pictures_no_list": (
        "A folder of pictures begins with a list of [path, bytes]; this one does not.",
        "图片文件夹以 [路径, 字节数] 的列表开头；收到的不是。",
        "圖片資料夾以 [路徑, 位元組數] 的清單開頭；收到的不是。",
    ),
    "too_many_pictures": (
        "The lab takes folders of at most {most} pictures; start the lab with a larger one (commonweight lab FOLDER), "
        "and it is read where it lies.",
        "实验室接受的文件夹最多有 {most} 张图片；更大的请用它启动实验室（commonweight lab 文件夹），就地读取。",
        "實驗室接受的資料夾最多有 {most} 張圖片；更大的請用它啟動實驗室（commonweight lab 資料夾），就地讀取。",
    ),
    "picture_name": (
        "A picture of a folder is CLASS/FILE, a plain name with the end of a picture; got {name}: rename it.",
        "文件夹里的图片是 类别/文件，名称普通，以图片的后缀结尾；收到的是 {name}：请改名。",
        "資料夾裡的圖片是 類別/檔案，名稱普通，以圖片的副檔名結尾；收到的是 {name}：請改名。",
    ),
    "too_few_classes": (
        "A folder of pictures has a folder for each class, two at least; this one has {classes}: move the pictures of "
        "each class into a folder of its own.",
        "图片文件夹里每个类别有一个文件夹，至少两个；这里有 {classes} 个：请把每个类别的图片放进各自的文件夹。",
        "圖片資料夾裡每個類別有一個資料夾，至少兩個；這裡有 {classes} 個：請把每個類別的圖片放進各自的資料夾。",
    ),
    # what sessions cannot do
    "not_finite": (
        "The loss became {loss} at step {step}: lower the learning rate, then restart.",
        "损失在第 {step} 步变成了 {loss}：请降低学习率，再回到起点。",
        "損失在第 {step} 步變成了 {loss}：請降低學習率，再回到起點。",
    ),
    "small_batch": (
        "Batch normalisation needs 2 samples in a batch at least; got 1: set another batch size.",
        "批归一化的每批至少要有 2 个样本；现在是 1：请改变批大小。",
        "批次正規化的每批至少要有 2 個樣本；現在是 1：請改變批次大小。",
    ),
    "no_connection": (
        "No connection leads from input {inp} to output {out}: choose one inside of a window.",
        "从输入 {inp} 到输出 {out} 没有连接：请在窗口内选择一个。",
        "從輸入 {inp} 到輸出 {out} 沒有連接：請在窗口內選擇一個。",
    ),
    "no_drawing": (
        "A drawing is the letter d and {pixels} hexadecimal digits; got {got}.",
        "图画是字母 d 和 {pixels} 个十六进制数字；收到的是 {got}。",
        "圖畫是字母 d 和 {pixels} 個十六進位數字；收到的是 {got}。",
    ),
    "odd_torus": (
        "Hexagons close to a torus in an even number of rows; got {rows}: add one.",
        "六边形的网格只有在行数为偶数时才能连成环面；现在是 {rows} 行：请加一行。",
        "六邊形的網格只有在列數為偶數時才能連成環面；現在是 {rows} 列：請加一列。",
    ),
    "training_goes_on": (
        "{name} is being trained: wait for its end.",
        "正在训练 {name}：请等它结束。",
        "正在訓練 {name}：請等它結束。",
    ),
    "no_run_to_repair": (
        "There is no run here whose advice could be followed.",
        "这里没有可以按其建议去做的训练记录。",
        "這裡沒有可以按其建議去做的訓練記錄。",
    ),
    "nothing_wrong": (
        "Nothing is wrong with {name}: there is no advice to follow.",
        "{name} 没有问题：没有建议可做。",
        "{name} 沒有問題：沒有建議可做。",
    ),
    "advice_not_followed": (
        "This advice cannot be followed from here: {reason}",
        "这项建议不能从这里执行：{reason}",
        "這項建議不能從這裡執行：{reason}",
    ),
    "advice_for_people": (
        "only a person can do what {advice} says.",
        "{advice} 所说的只有人能做。",
        "{advice} 所說的只有人能做。",
    ),
    "data_elsewhere": (
        "its data has no name here and is no file in the folder that this lab may read.",
        "它的数据在这里没有名称，也不是本实验室可读的文件夹里的文件。",
        "它的資料在這裡沒有名稱，也不是本實驗室可讀的資料夾裡的檔案。",
    ),
}
