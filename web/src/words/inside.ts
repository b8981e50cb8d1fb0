// What the view Look inside says, in three languages.

const en = {
  pad: "Draw a digit",
  padHelp: "Draw with the mouse or a finger. Keys: arrows move, the space bar draws, Delete clears.",
  drawn: "Your own drawing.", shownSample: (number: string, label: string) => `Test sample ${number}, a ${label}.`,
  clear: "Clear", sample: "Test sample",
  says: (label: string, share: string) => `The net says ${label}, with probability ${share}.`,
  stages: "Through the layers",
  stagesHelp: "Orange is positive, blue negative. Click any value: the windows that it sees are outlined in the stage before. Arrow keys walk through a map, Page Up and Page Down through the maps.",
  stageSaid: (stage: string, map: string, row: string, column: string, value: string) =>
    `${stage}, map ${map}, row ${row}, column ${column}: ${value}.`,
  names: ["image", "convolution 1", "pooling", "convolution 2", "classes"],
  arithmetic: "The arithmetic of this value",
  arithmeticHelp: "Each weight is used at every position of the image: choose another row or column, and only the values change.",
  values: "values", weights: "weights", products: "products",
  value: "value", weight: "weight", product: "product", map: "map", row: "row", column: "column", bias: "bias",
  others: (n: string, sum: string) => `${n} more terms: ${sum}`,
  outside: "padding",
  sizes: "Sizes",
  formula: "output = ⌊(input + 2 · padding − kernel) ÷ stride⌋ + 1",
  pooling: "Largest against mean",
  poolingHelp: "The same map after its ReLU, halved in two ways: the largest of each 2×2 window keeps strong answers, the mean blurs them.",
  poolingSaid: (largest: string, mean: string) => `Mean over the map: ${largest} by the largest, ${mean} by the mean of each window.`,
  before: "before", largest: "largest", mean: "mean",
};

type Said = typeof en;

const hans: Said = {
  pad: "画一个数字",
  padHelp: "用鼠标或手指画。键盘：方向键移动，空格键画点，Delete 清除。",
  drawn: "自己画的数字。", shownSample: (number, label) => `第 ${number} 个测试样本，是 ${label}。`,
  clear: "清除", sample: "测试样本",
  says: (label, share) => `网络说是 ${label}，概率 ${share}。`,
  stages: "穿过各层",
  stagesHelp: "橙色为正，蓝色为负。点击任何一个数值：前一级中它看到的窗口会被框出。方向键在图内移动，Page Up 和 Page Down 换图。",
  stageSaid: (stage, map, row, column, value) => `${stage}，第 ${map} 张图，第 ${row} 行第 ${column} 列：${value}。`,
  names: ["图像", "卷积 1", "池化", "卷积 2", "类别"],
  arithmetic: "这个数值的算式",
  arithmeticHelp: "每个权重在图像的所有位置上使用：换一行或一列，变的只是数值。",
  values: "数值", weights: "权重", products: "乘积",
  value: "数值", weight: "权重", product: "乘积", map: "图", row: "行", column: "列", bias: "偏置",
  others: (n, sum) => `另外 ${n} 项：${sum}`,
  outside: "填充",
  sizes: "尺寸",
  formula: "输出 = ⌊(输入 + 2 · 填充 − 核) ÷ 步幅⌋ + 1",
  pooling: "最大与平均",
  poolingHelp: "同一张图，ReLU 之后用两种方式减半：2×2 窗口取最大，保留强的响应；取平均，则变得模糊。",
  poolingSaid: (largest, mean) => `全图平均：取最大为 ${largest}，取平均为 ${mean}。`,
  before: "之前", largest: "最大", mean: "平均",
};

const hant: Said = {
  pad: "畫一個數字",
  padHelp: "用滑鼠或手指畫。鍵盤：方向鍵移動，空白鍵畫點，Delete 清除。",
  drawn: "自己畫的數字。", shownSample: (number, label) => `第 ${number} 個測試樣本，是 ${label}。`,
  clear: "清除", sample: "測試樣本",
  says: (label, share) => `網路說是 ${label}，機率 ${share}。`,
  stages: "穿過各層",
  stagesHelp: "橙色為正，藍色為負。點擊任何一個數值：前一級中它看到的窗口會被框出。方向鍵在圖內移動，Page Up 和 Page Down 換圖。",
  stageSaid: (stage, map, row, column, value) => `${stage}，第 ${map} 張圖，第 ${row} 列第 ${column} 行：${value}。`,
  names: ["圖像", "卷積 1", "池化", "卷積 2", "類別"],
  arithmetic: "這個數值的算式",
  arithmeticHelp: "每個權重在圖像的所有位置上使用：換一列或一行，變的只是數值。",
  values: "數值", weights: "權重", products: "乘積",
  value: "數值", weight: "權重", product: "乘積", map: "圖", row: "列", column: "行", bias: "偏置",
  others: (n, sum) => `另外 ${n} 項：${sum}`,
  outside: "填充",
  sizes: "尺寸",
  formula: "輸出 = ⌊(輸入 + 2 · 填充 − 核) ÷ 步幅⌋ + 1",
  pooling: "最大和平均",
  poolingHelp: "同一張圖，ReLU 之後用兩種方式減半：2×2 窗口取最大，保留強的響應；取平均，則變得模糊。",
  poolingSaid: (largest, mean) => `全圖平均：取最大是 ${largest}，取平均是 ${mean}。`,
  before: "之前", largest: "最大", mean: "平均",
};

export const inside = { en, hans, hant };
