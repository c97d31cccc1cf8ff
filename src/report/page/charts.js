// Formats numbers, and draws the charts of one layer. Runs inside the function that report.html puts around all scripts.
// --- words and numbers -------------------------------------------------------------------------------------------
const missing = "\u2013";
const fixed = (x, digits) => x == null ? missing : x.toFixed(digits).replace("-", "\u2212");
const significant = x => x == null ? missing : Number(x.toPrecision(3)).toString().replace("-", "\u2212");
const percent = (x, digits = 1) => x == null ? missing : fixed(100 * x, digits) + " %";
const scaled = (x, units) => {
  let u = 0;
  while (x >= 1000 && u + 1 < units.length) { x /= 1000; ++u; }
  return (x >= 100 || (u === 0 && x === Math.round(x)) ? x.toFixed(0) : x.toPrecision(3)) + " " + units[u];
};
const bytes = x => scaled(x, ["B", "kB", "MB", "GB"]);
const time = us => scaled(us, ["\u00b5s", "ms", "s"]);
const count = x => scaled(x, ["", "k", "M", "G"]).trim();

// --- charts ------------------------------------------------------------------------------------------------------
// An SVG as wide as its container, redrawn when the width changes.
const drawn = new Map();
function chart(place, draw) {
  const render = () => {
    const width = Math.floor(place.clientWidth - parseFloat(getComputedStyle(place).paddingLeft) * 2);
    if (width < 40) return;
    place.replaceChildren();
    draw(d3.select(place).append("svg").attr("role", "img"), width);
    const svg = place.firstChild;
    svg.setAttribute("viewBox", `0 0 ${width} ${svg.getAttribute("height")}`);
  };
  drawn.set(place, render);
  render();
}
let lastWidth = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === lastWidth) return;
  lastWidth = innerWidth;
  for (const [place, render] of drawn) place.isConnected ? render() : drawn.delete(place);
});

function axes(svg, x, y, box, xTicks, yTicks, xLabel, yLabel) {
  svg.append("g").attr("class", "axis").attr("transform", `translate(0,${box.bottom})`).call(xTicks.tickSizeOuter(0));
  svg.append("g").attr("class", "axis").attr("transform", `translate(${box.left},0)`).call(yTicks.tickSizeOuter(0));
  svg.append("text").attr("x", (box.left + box.right) / 2).attr("y", box.bottom + 36).attr("text-anchor", "middle").text(xLabel);
  svg.append("text").attr("x", 2).attr("y", 12).text(yLabel);
}

function histogram(place, layer) {
  const {low, high, counts} = layer.values, total = d3.sum(counts), grid = layer.grid;
  chart(place, (svg, width) => {
    const box = {left: 68, right: width - 14, top: 40, bottom: 190};
    svg.attr("height", 232).attr("aria-label", `Histogram of the values of ${layer.name}`);
    const ends = grid ? [Math.min(low, grid.low), Math.max(high, grid.high)] : [low, high];
    const x = d3.scaleLinear().domain(ends).range([box.left, box.right]);
    const least = Math.pow(10, Math.floor(Math.log10(d3.min(counts.filter(n => n > 0)) / total)));
    const y = d3.scaleLog().domain([Math.max(1e-7, least), 1]).range([box.bottom, box.top]).clamp(true);
    const step = (high - low) / counts.length;
    svg.append("g").selectAll("rect").data(counts.map((n, i) => ({n, at: low + i * step})).filter(d => d.n > 0)).join("rect")
      .attr("class", "bar").attr("x", d => x(d.at)).attr("y", d => y(d.n / total))
      .attr("width", Math.max(0.8, x(low + step) - x(low) - 0.6)).attr("height", d => box.bottom - y(d.n / total));
    if (grid) {
      for (const [from, to] of [[ends[0], grid.low], [grid.high, ends[1]]])
        if (x(to) - x(from) > 0.5)
          svg.append("rect").attr("class", "outside").attr("x", x(from)).attr("width", x(to) - x(from)).attr("y", box.top).attr("height", box.bottom - box.top);
      for (const [value, anchor] of [[grid.low, "start"], [grid.high, "end"]]) {
        svg.append("line").attr("class", "limit").attr("x1", x(value)).attr("x2", x(value)).attr("y1", box.top - 6).attr("y2", box.bottom);
        svg.append("text").attr("class", "limit-label").attr("x", x(value)).attr("y", box.top - 11).attr("text-anchor", anchor).text(significant(value));
      }
      svg.append("text").attr("class", "limit-label").attr("x", box.right).attr("y", 12).attr("text-anchor", "end").text(`grid of ${grid.bits} bits`);
    }
    const decades = -Math.log10(y.domain()[0]), every = Math.max(1, Math.ceil(decades / 4));
    const tickValues = d3.range(0, Math.floor(decades + 0.01) + 1, every).map(d => Math.pow(10, -d));
    axes(svg, x, y, box, d3.axisBottom(x).ticks(Math.max(3, width / 90)),
      d3.axisLeft(y).tickValues(tickValues).tickFormat(v => `${Number((100 * v).toPrecision(1))} %`), "value", "share of values (log)");
  });
}

function weightRanges(place, layer) {
  const w = layer.weights;
  chart(place, (svg, width) => {
    const box = {left: 68, right: width - 14, top: 24, bottom: 190};
    svg.attr("height", 232).attr("aria-label", `Weight range of every channel of ${layer.name}`);
    const x = d3.scaleLinear().domain([0, w.channels]).range([box.left, box.right]);
    const y = d3.scaleLinear().domain(d3.extent([0, ...w.min, ...w.max])).nice().range([box.bottom, box.top]);
    const each = (box.right - box.left) / w.min.length;
    svg.append("g").selectAll("rect").data(w.min.map((low, i) => ({low, high: w.max[i], i}))).join("rect")
      .attr("class", "bar").attr("x", d => box.left + d.i * each).attr("width", Math.max(0.5, each > 3 ? each - 1 : each * 0.9))
      .attr("y", d => y(Math.max(0, d.high))).attr("height", d => Math.max(0.5, y(Math.min(0, d.low)) - y(Math.max(0, d.high))));
    for (const extent of [w.median_extent, -w.median_extent])
      if (extent <= y.domain()[1] && extent >= y.domain()[0])
        svg.append("line").attr("class", "rule").attr("x1", box.left).attr("x2", box.right).attr("y1", y(extent)).attr("y2", y(extent));
    svg.append("text").attr("x", box.right).attr("y", 12).attr("text-anchor", "end").text("dashed: median range");
    axes(svg, x, y, box, d3.axisBottom(x).ticks(Math.min(w.channels, Math.max(3, width / 90))).tickFormat(d3.format("d")),
      d3.axisLeft(y).ticks(5), "output channel", "least to greatest weight");
  });
}
