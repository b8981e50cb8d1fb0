// What the view Map says, in three languages.

const en = {
  sheet: "The map among its data",
  sheetHelp: "The net is the map: a knot for each unit, a line between neighbours on the grid. Points are training samples by class, in the plane of their two principal components (points of a plane as they are); the star is the chosen test sample.",
  sheetSaid: (units: string, samples: string, error: string) => `${units} units among ${samples} samples; a sample is ${error} from the unit that wins it, at the mean.`,
  u: "U-matrix",
  uHelp: "The darker a unit, the farther its weights are from its neighbours' (lighter on a dark page): ridges part clusters. Click a unit, or walk by arrow keys.",
  lands: "Which sample lands where",
  landsHelp: "A unit is as large as the number of training samples that it wins, and has the name of the class that most of them belong to. The map never saw a label.",
  plane: "Component plane",
  planeHelp: "What each unit holds of one feature, from least to most; units of like values lie together.",
  planeSaid: (feature: string, low: string, high: string) => `${feature}: from ${low} to ${high}.`,
  pictures: "Units as pictures",
  picturesHelp: "The weights of each unit, in its place: neighbours are alike.",
  unit: "Unit", row: "row", column: "column", won: "samples won", class: "class", apart: "distance to neighbours", value: "value",
  unitSaid: (row: string, column: string, won: string, most: string, apart: string) =>
    `Unit in row ${row}, column ${column}: ${won} samples won${most ? `, most of class ${most}` : ""}; ${apart} from its neighbours.`,
  sample: "Test sample",
  sampleSaid: (number: string, label: string, row: string, column: string, distance: string, most: string) =>
    `Test sample ${number}, a ${label}, lands in row ${row}, column ${column}, at distance ${distance}${most ? `; most there are of class ${most}` : "; no training sample landed there"}.`,
  sampleHelp: "Left: the sample. Right: the weights of the unit where it lands.",
  pairHelp: "Discs: the sample. Rings: the weights of the unit where it lands.",
  feature: "Feature", pixel: (row: string, column: string) => `pixel in row ${row}, column ${column}`,
  errors: "Errors of the map",
  quantisation: "quantisation error", topographic: "topographic error",
  errorsSaid: (error: string, topographic: string, radius: string) =>
    `Quantisation error ${error}; of ${topographic} of the samples the two nearest units do not touch. Radius now ${radius} ${radius === "1" ? "unit" : "units"}.`,
  x: "across", y: "up",
};

type Said = typeof en;

const hans: Said = {
  sheet: "映射与数据",
  sheetHelp: "网就是映射：每个结点是一个单元，线连接网格上的邻居。点是各类训练样本，画在两个主成分的平面上（平面上的点保持原样）；星是所选的测试样本。",
  sheetSaid: (units, samples, error) => `${units} 个单元，${samples} 个样本；样本到胜出单元的平均距离为 ${error}。`,
  u: "U 矩阵",
  uHelp: "单元越深，它的权重离邻居越远（深色页面上则越亮）：山脊分开各个簇。点击单元，或用方向键移动。",
  lands: "哪个样本落在哪里",
  landsHelp: "单元的大小是它赢得的训练样本数，文字是其中最多的类别。映射从未见过标签。",
  plane: "分量平面",
  planeHelp: "每个单元对一个特征的取值，从最小到最大；取值相近的单元彼此相邻。",
  planeSaid: (feature, low, high) => `${feature}：从 ${low} 到 ${high}。`,
  pictures: "单元的图像",
  picturesHelp: "每个单元的权重，画在它的位置上：邻居彼此相似。",
  unit: "单元", row: "行", column: "列", won: "赢得的样本", class: "类别", apart: "与邻居的距离", value: "数值",
  unitSaid: (row, column, won, most, apart) =>
    `第 ${row} 行第 ${column} 列的单元：赢得 ${won} 个样本${most ? `，多数属于类别 ${most}` : ""}；与邻居的距离 ${apart}。`,
  sample: "测试样本",
  sampleSaid: (number, label, row, column, distance, most) =>
    `第 ${number} 个测试样本，类别 ${label}，落在第 ${row} 行第 ${column} 列，距离 ${distance}${most ? `；那里多数属于类别 ${most}` : "；没有训练样本落在那里"}。`,
  sampleHelp: "左：样本。右：它落到的单元的权重。",
  pairHelp: "圆点：样本。圆环：它落到的单元的权重。",
  feature: "特征", pixel: (row, column) => `第 ${row} 行第 ${column} 列的像素`,
  errors: "映射的误差",
  quantisation: "量化误差", topographic: "拓扑误差",
  errorsSaid: (error, topographic, radius) => `量化误差 ${error}；${topographic} 的样本，其最近的两个单元不相邻。当前半径 ${radius} 个单元。`,
  x: "横向", y: "纵向",
};

const hant: Said = {
  sheet: "映射和資料",
  sheetHelp: "這張網就是映射：每個結點是一個單元，線連接網格上的鄰居。點是各類學習樣本，畫在兩個主成分的平面上（平面上的點保持原樣）；星是所選的測試樣本。",
  sheetSaid: (units, samples, error) => `${units} 個單元，${samples} 個樣本；樣本到勝出單元的平均距離是 ${error}。`,
  u: "U 矩陣",
  uHelp: "單元越深，它的權重離鄰居越遠（深色頁面上則越亮）：山脊分開各個群。點擊單元，或用方向鍵移動。",
  lands: "哪個樣本落在哪裡",
  landsHelp: "單元的大小是它贏得的訓練樣本數，文字是其中最多的類別。映射從未見過標籤。",
  plane: "分量平面",
  planeHelp: "每個單元對一個特徵的取值，從最小到最大；取值相近的單元彼此相鄰。",
  planeSaid: (feature, low, high) => `${feature}：從 ${low} 到 ${high}。`,
  pictures: "單元的圖像",
  picturesHelp: "每個單元的權重，畫在它的位置上：鄰居彼此相似。",
  unit: "單元", row: "列", column: "行", won: "贏得的樣本", class: "類別", apart: "和鄰居的距離", value: "數值",
  unitSaid: (row, column, won, most, apart) =>
    `第 ${row} 列第 ${column} 行的單元：贏得 ${won} 個樣本${most ? `，多數屬於類別 ${most}` : ""}；和鄰居的距離 ${apart}。`,
  sample: "測試樣本",
  sampleSaid: (number, label, row, column, distance, most) =>
    `第 ${number} 個測試樣本，類別 ${label}，落在第 ${row} 列第 ${column} 行，距離 ${distance}${most ? `；那裡多數屬於類別 ${most}` : "；沒有訓練樣本落在那裡"}。`,
  sampleHelp: "左：樣本。右：它落到的單元的權重。",
  pairHelp: "圓點：樣本。圓環：它落到的單元的權重。",
  feature: "特徵", pixel: (row, column) => `第 ${row} 列第 ${column} 行的像素`,
  errors: "映射的誤差",
  quantisation: "量化誤差", topographic: "拓撲誤差",
  errorsSaid: (error, topographic, radius) => `量化誤差 ${error}；${topographic} 的樣本，其最近的兩個單元不相鄰。目前半徑 ${radius} 個單元。`,
  x: "橫向", y: "縱向",
};

export const map = { en, hans, hant };
