// What the view Descend says, in three languages.

const en = {
  surface: "The race",
  surfaceHelp: "The loss of two weights a and b over all samples, lighter where it is lower (darker on a dark page), with contour lines. All rules begin at the cross, and see the same batches. Click to begin elsewhere, or move the cross by arrow keys.",
  leading: (rule: string, loss: string, least: string) => `${rule} is lowest, with loss ${loss}; the lowest place that is drawn has ${least}.`,
  gone: (rules: string) => `Diverged: ${rules}.`,
  rules: { sgd: "gradient descent", momentum: "momentum", nesterov: "Nesterov's momentum", rmsprop: "RMSprop", adam: "Adam" } as Record<string, string>,
  rule: "rule", standing: "Standing", diverged: "diverged", show: "draw",
  answer: "answer", lossHelp: "Loss: the mean of (answer − y)² over all samples.",
  losses: "Loss over all samples",
  problems: {
    line: "A line through the petals of irises: a long narrow valley.",
    chain: "Two weights in a chain: a saddle at the middle, two valleys that are mirror images.",
    neuron: "One sigmoid neuron on two moons, with squared error: plateaus, where gradients vanish.",
  } as Record<string, string>,
};

type Said = typeof en;

const hans: Said = {
  surface: "赛跑",
  surfaceHelp: "两个权重 a 和 b 在全部样本上的损失，越浅越低（深色页面上越暗越低），并画出等高线。所有规则从十字处出发，看到同样的批次。点击可换起点，或用方向键移动十字。",
  leading: (rule, loss, least) => `${rule}最低，损失 ${loss}；图中最低处为 ${least}。`,
  gone: (rules) => `已发散：${rules}。`,
  rules: { sgd: "梯度下降", momentum: "动量", nesterov: "Nesterov 动量", rmsprop: "RMSprop", adam: "Adam" },
  rule: "规则", standing: "名次", diverged: "已发散", show: "画出",
  answer: "回答", lossHelp: "损失：全部样本上 (回答 − y)² 的平均。",
  losses: "全部样本上的损失",
  problems: {
    line: "穿过鸢尾花花瓣数据的一条直线：又长又窄的山谷。",
    chain: "两个权重相连：中间是鞍点，两侧是互为镜像的山谷。",
    neuron: "一个 S 形神经元学两个月牙，用平方误差：有梯度消失的高原。",
  },
};

const hant: Said = {
  surface: "賽跑",
  surfaceHelp: "兩個權重 a 和 b 在全部樣本上的損失，越淺越低（深色頁面上越暗越低），並畫出等高線。所有規則從十字處出發，看到同樣的批次。點擊可換起點，或用方向鍵移動十字。",
  leading: (rule, loss, least) => `${rule}最低，損失 ${loss}；圖中最低處是 ${least}。`,
  gone: (rules) => `已發散：${rules}。`,
  rules: { sgd: "梯度下降", momentum: "動量", nesterov: "Nesterov 動量", rmsprop: "RMSprop", adam: "Adam" },
  rule: "規則", standing: "名次", diverged: "已發散", show: "畫出",
  answer: "回答", lossHelp: "損失：全部樣本上 (回答 − y)² 的平均。",
  losses: "全部樣本上的損失",
  problems: {
    line: "穿過鳶尾花花瓣資料的一條直線：又長又窄的山谷。",
    chain: "兩個權重相連：中間是鞍點，兩側是互為鏡像的山谷。",
    neuron: "一個 S 形神經元學兩個月牙，用平方誤差：有梯度消失的高原。",
  },
};

export const descend = { en, hans, hant };
