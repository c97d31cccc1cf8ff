// Draws the report from the data in the page. The program has computed all figures; this script only shows them.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = id => document.getElementById(id);
const layers = data.layers;

const bits = l => {
  const of = b => b === 0 ? "float" : String(b);
  if (l.has_weights) return l.weight_bits === 0 && l.activation_bits === 0 ? "float" : `${of(l.weight_bits)} / ${of(l.activation_bits)}`;
  return of(l.activation_bits);
};
const share = l => l.sensitivity ? l.sensitivity.error_share : null;
const worst = l => l.findings.reduce((w, f) => Math.max(w, f.severity === "warning" ? 2 : 1), 0);
const element = (tag, className, text) => {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
};

// --- summary -----------------------------------------------------------------------------------------------------
function card(title, figure, detail) {
  const c = element("div", "card");
  c.append(element("h3", "", title), element("div", "figure", figure), element("div", "detail", detail));
  byId("summary").append(c);
}

function summary() {
  const before = data.float, after = data.quantized, recipe = data.recipe;
  byId("title").textContent = data.model;
  document.title = `${data.model} \u2013 Bitfold report`;
  byId("subtitle").textContent =
    `Weights in ${recipe.weight_bits} bits (${recipe.granularity.replace("_", " ")}, ${recipe.weight_scheme ?? "auto"}), activations in ` +
    `${recipe.activation_bits} bits (${recipe.activation_scheme}, range by ${recipe.observer.replace("_", "-")})` +
    (Object.keys(recipe.layers).length ? `, ${Object.keys(recipe.layers).length} layers with bits of their own` : "") +
    `. Calibrated on ${data.calibration_samples} samples, compared on ${data.comparison_samples}.` +
    (data.left_text ? ` All figures are about a part of the network: ${data.left_text}.` : "");
  if (after.top1 != null) {
    const points = 100 * (after.top1 - before.top1);
    card("Top-1 accuracy", percent(after.top1, 2), `float ${percent(before.top1, 2)} (${points < 0 ? "" : "+"}${fixed(points, 2)} points)`);
  }
  if (data.agreement != null) card("Agreement with float", percent(data.agreement, 2), "share of samples with the same predicted class");
  card("Output SQNR", data.sqnr_db == null ? "exact" : fixed(data.sqnr_db, 1) + " dB", "signal to quantization noise");
  const times = (from, to, less, more) => from >= to ? `${(from / to).toFixed(2)}\u00d7 ${less}` : `${(to / from).toFixed(2)}\u00d7 ${more}`;
  card("Size", bytes(after.bytes), `float ${bytes(before.bytes)} (${times(before.bytes, after.bytes, "smaller", "larger")})`);
  card("Latency", time(after.latency_us), `float ${time(before.latency_us)} (${times(before.latency_us, after.latency_us, "faster", "slower")})`);
  byId("made-by").textContent = `Made by Bitfold ${data.version}. Data: ${data.comparison_data}. Latency: median, one sample at a time, one thread.`;
}

function findings() {
  const all = layers.flatMap(l => l.findings.map(f => ({layer: l, ...f})));
  all.sort((a, b) => (b.severity === "warning") - (a.severity === "warning"));
  if (!all.length) return;
  byId("findings-section").hidden = false;
  const shown = 6, button = byId("all-findings");
  const draw = n => byId("findings").replaceChildren(...all.slice(0, n).map(f => {
    const item = element("li", `finding ${f.severity}`), link = element("a", "", f.layer.name);
    link.href = "#layers";
    link.onclick = event => { event.preventDefault(); reveal(f.layer); };
    item.append(link, f.text);
    return item;
  }));
  draw(shown);
  button.hidden = all.length <= shown;
  button.textContent = `Show all ${all.length}`;
  button.onclick = () => { draw(all.length); button.hidden = true; };
}

// --- sensitivity and the search ------------------------------------------------------------------------------------
const seriesColor = i => ["var(--accent)", "var(--second)", "var(--third)", "var(--quiet)"][i % 4];

function sensitivity() {
  const measured = layers.filter(l => l.sensitivity && l.sensitivity.alone.some(a => a && a.sqnr_db != null));
  if (!measured.length) return;
  byId("sensitivity-section").hidden = false;
  const all = data.sensitivity.all.sqnr_db, widths = data.sensitivity.weight_bits;
  byId("sensitivity-text").textContent =
    `Output SQNR with one layer quantized and everything else in float, on ${data.sensitivity.samples} samples. Lower is worse; ` +
    "6 dB less is twice the error." + (data.sensitivity.is_complete ? "" : " Not every layer was measured: the time limit was reached.");
  const legend = byId("sensitivity-legend");
  widths.forEach((b, i) => {
    const entry = element("span"), dot = element("i");
    dot.style.background = seriesColor(i);
    entry.append(dot, `weights in ${b} bits`);
    legend.append(entry);
  });
  if (all != null) {
    const entry = element("span");
    entry.append(element("i", "rule"), `the whole network as quantized: ${fixed(all, 1)} dB`);
    legend.append(entry);
  }
  chart(byId("sensitivity-chart"), (svg, width) => {
    const row = 22, label = Math.min(260, Math.max(104, width * 0.28));
    const box = {left: label, right: width - 16, top: 6, bottom: 6 + row * measured.length};
    svg.attr("height", box.bottom + 46).attr("aria-label", "Output SQNR with each layer alone quantized");
    const dots = measured.flatMap((l, i) => l.sensitivity.alone.map((a, b) => ({l, i, b, a})).filter(d => d.a && d.a.sqnr_db != null));
    const [least, most] = d3.extent([...dots.map(d => d.a.sqnr_db), ...(all == null ? [] : [all])]);
    const x = d3.scaleLinear().domain([Math.min(least - 2, least * 0.98), most + 2]).nice().range([box.left + 8, box.right]);
    const yOf = i => box.top + row * (i + 0.5);
    svg.append("g").selectAll("line").data(measured).join("line").attr("class", "gridline")
      .attr("x1", box.left).attr("x2", box.right).attr("y1", (l, i) => yOf(i)).attr("y2", (l, i) => yOf(i));
    const fits = Math.floor((label - 8) / 7.4);
    const names = svg.append("g").selectAll("text").data(measured).join("text").attr("class", "name").attr("x", label - 8).attr("text-anchor", "end")
      .attr("y", (l, i) => yOf(i) + 4).text(l => l.name.length <= fits ? l.name : "\u2026" + l.name.slice(1 - fits));
    names.append("title").text(l => l.name);
    if (all != null) svg.append("line").attr("class", "rule").attr("x1", x(all)).attr("x2", x(all)).attr("y1", box.top).attr("y2", box.bottom);
    svg.append("g").selectAll("circle").data(dots).join("circle").attr("cx", d => x(d.a.sqnr_db)).attr("cy", d => yOf(d.i)).attr("r", 5)
      .style("fill", d => seriesColor(d.b)).style("stroke", "var(--surface)").style("cursor", "pointer").on("click", (a, b) => reveal((b && b.l) || a.l))
      .append("title").text(d => `${d.l.name}, ${d.a.weight_bits} bits: ${fixed(d.a.sqnr_db, 1)} dB`);
    svg.append("g").attr("class", "axis").attr("transform", `translate(0,${box.bottom})`).call(d3.axisBottom(x).ticks(Math.max(3, width / 110)).tickSizeOuter(0));
    svg.append("text").attr("x", (box.left + box.right) / 2).attr("y", box.bottom + 38).attr("text-anchor", "middle").text("output SQNR in dB");
  });
}

function mixed() {
  const m = data.mixed;
  if (!m) return;
  byId("mixed-section").hidden = false;
  const unit = m.metric === "top1" ? "top-1 accuracy" : "agreement with float";
  const best = m.best == null ? null : m.points[m.best];
  const tally = {};
  if (best) for (const c of best.choices) tally[c] = (tally[c] || 0) + 1;
  const words = c => c === "float" ? "in float" : c.replace(/^w(\d+)a(\d+)$/, "with $1-bit weights and $2-bit activations");
  const said = Object.entries(tally).map(([c, n]) => `${n} ${n === 1 ? "layer" : "layers"} ${words(c)}`).join(", ");
  byId("mixed-text").textContent =
    (best ? `The smallest mix within ${significant(m.max_drop)} points of float: ${bytes(best.bytes)}, ${percent(best.score, 2)} ${unit} (float ${percent(m.float_score, 2)}), ${said}.`
          : `No mix within ${significant(m.max_drop)} points of float was found.`) +
    ` ${m.points.length} mixes were measured on ${m.samples} samples${m.is_complete ? "" : "; the search was stopped early"}. The line connects the mixes that no other mix beats in both size and accuracy.`;
  chart(byId("mixed-chart"), (svg, width) => {
    const box = {left: 68, right: width - 28, top: 28, bottom: 250};
    svg.attr("height", 294).attr("aria-label", "File size against accuracy of every mix that was measured");
    const [smallest, largest] = d3.extent(m.points, p => p.bytes), pad = Math.max(1, (largest - smallest) * 0.06);
    const promised = m.float_score - m.max_drop / 100;
    const x = d3.scaleLinear().domain([smallest - pad, largest + pad]).nice().range([box.left, box.right]);
    const [low, high] = d3.extent([promised, m.float_score, ...m.points.map(p => p.score)]), margin = Math.max(1e-4, (high - low) * 0.08);
    const y = d3.scaleLinear().domain([low - margin, high + margin]).nice().range([box.bottom, box.top]);
    for (const [value, text] of [[promised, `limit: ${percent(promised, 2)}`], [m.float_score, `float: ${percent(m.float_score, 2)}`]]) {
      const kind = value === promised && m.max_drop > 0 ? "promise" : "rule";
      svg.append("line").attr("class", kind).attr("x1", box.left).attr("x2", box.right).attr("y1", y(value)).attr("y2", y(value));
      svg.append("text").attr("class", kind === "promise" ? "promise-label" : "").attr("x", box.right).attr("text-anchor", "end").attr("y", y(value) - 5).text(text);
    }
    const front = m.points.filter(p => p.is_on_front).sort((a, b) => a.bytes - b.bytes);
    svg.append("path").attr("class", "front").attr("d", d3.line().x(p => x(p.bytes)).y(p => y(p.score)).curve(d3.curveStepAfter)(front));
    svg.append("g").selectAll("circle").data(m.points).join("circle").attr("cx", p => x(p.bytes)).attr("cy", p => y(p.score))
      .attr("r", p => p === best ? 7 : p.is_on_front ? 5 : 4)
      .style("fill", p => p === best ? "var(--good)" : p.is_on_front ? "var(--accent)" : "var(--quiet)")
      .style("fill-opacity", p => p.is_on_front || p === best ? 1 : 0.45).style("stroke", "var(--surface)")
      .append("title").text(p => `${bytes(p.bytes)}, ${percent(p.score, 2)}`);
    if (best) svg.append("text").attr("class", "name").attr("x", x(best.bytes) + (x(best.bytes) > (box.left + box.right) / 2 ? -12 : 12)).attr("y", y(best.score) + 20).attr("text-anchor", x(best.bytes) > (box.left + box.right) / 2 ? "end" : "start").text(`chosen: ${bytes(best.bytes)}`);
    axes(svg, x, y, box, d3.axisBottom(x).ticks(Math.max(3, width / 110)).tickFormat(bytes), d3.axisLeft(y).ticks(5).tickFormat(v => `${Number((100 * v).toFixed(2))} %`), "file size", unit);
  });
}

// --- table -------------------------------------------------------------------------------------------------------
const grid = l => l.grid ? `${significant(l.grid.low)} \u2026 ${significant(l.grid.high)}` : missing;
const columns = [
  {key: "name", title: "Layer", words: true, value: l => l.index},
  {key: "op", title: "Operator", words: true, value: l => l.op, text: l => l.op},
  {key: "sqnr", title: "SQNR dB", value: l => l.sqnr_db, text: l => fixed(l.sqnr_db, 1), ascending: true},
  {key: "bits", title: "Bits", value: l => l.weight_bits * 100 + l.activation_bits, text: bits, ascending: true, hint: "weights / output"},
  {key: "grid", title: "Grid", value: l => l.grid ? l.grid.scale : null, text: grid, hint: "from the lowest to the highest code; sorted by step"},
  {key: "share", title: "Error share", value: share, text: l => percent(share(l)), hint: "of the summed noise of all layers, each measured alone"},
  {key: "time", title: "Time", value: l => l.time_us, text: l => l.time_us == null ? missing : time(l.time_us), hint: "of the step that computes the output; one sample, one thread"},
  {key: "macs", title: "Work", value: l => l.macs || null, text: l => l.macs ? `${percent(l.macs / totalMacs)}` : missing, hint: "multiply-accumulates"},
  {key: "findings", title: "Findings", value: l => worst(l) * 100 + l.findings.length, text: l => l.findings.length ? String(l.findings.length) : ""},
];
const totalMacs = d3.sum(layers, l => l.macs);
const rows = new Map();  // layer -> {row, detail}
let order = {key: "name", ascending: true};

function makeRow(layer) {
  const row = element("tr", "layer");
  row.dataset.name = layer.name;
  for (const column of columns) {
    const cell = element("td", column.words ? "words" : "");
    cell.dataset.label = column.title;
    if (column.key === "name") {
      const button = element("button", "toggle", layer.name);
      button.type = "button";
      button.setAttribute("aria-expanded", "false");
      cell.classList.add("name");
      cell.append(button);
    } else if (column.key === "findings") {
      if (layer.findings.length) cell.append(element("span", worst(layer) > 1 ? "badge warning" : "badge", column.text(layer)));
    } else {
      cell.textContent = column.text(layer);
    }
    if (column.key === "share" && share(layer) != null) {
      const meter = element("span", "meter"), fill = element("i");
      fill.style.width = `${(100 * share(layer)).toFixed(1)}%`;
      meter.append(fill);
      cell.prepend(meter);
    }
    if (column.key !== "name" && (cell.textContent === missing || cell.textContent === "")) cell.classList.add("empty");
    row.append(cell);
  }
  row.onclick = () => { if (!String(getSelection())) toggle(layer); };
  return row;
}

function facts(layer) {
  const list = element("dl", "facts");
  const add = (name, text) => list.append(element("dt", "", name), element("dd", "", text));
  if (layer.output_shape.length) add("Output", layer.output_shape.map(d => d < 0 ? "?" : d).join(" \u00d7 "));
  if (layer.parameters) add("Parameters", count(layer.parameters));
  if (layer.macs) add("Multiply-accumulates", count(layer.macs));
  if (layer.kernel) add("Kernel", layer.kernel);
  if (layer.grid) {
    add("Grid", `${layer.grid.bits} bits, ${layer.grid.is_signed ? "signed" : "unsigned"}, scale ${significant(layer.grid.scale)}, zero point ${layer.grid.zero_point}`);
    if (layer.used_codes != null) add("Codes in use", percent(layer.used_codes, 0));
    if (layer.clipped_share != null) add("Clipped values", layer.clipped_share === 0 ? "none" : percent(layer.clipped_share, layer.clipped_share < 0.001 ? 3 : 1));
  }
  const damage = d => `${d.sqnr_db == null ? "exact" : fixed(d.sqnr_db, 1) + " dB"} at the output` + (d.agreement == null ? "" : `, agreement ${percent(d.agreement)}`);
  if (layer.sensitivity) {
    for (const a of layer.sensitivity.alone) if (a) add(`Alone, ${a.weight_bits}-bit weights`, damage(a));
    if (layer.sensitivity.all_but) add("All but this layer", damage(layer.sensitivity.all_but));
  }
  return list;
}

function makeDetail(layer) {
  const detail = element("tr", "detail"), cell = element("td"), panel = element("div", "panel");
  cell.colSpan = columns.length;
  const wide = element("div", "wide");
  for (const f of layer.findings) wide.append(element("div", `finding ${f.severity}`, f.text));
  wide.append(facts(layer));
  panel.append(wide);
  cell.append(panel);
  detail.append(cell);
  const later = [];
  const place = (title, draw) => {
    const box = element("div"), where = element("div", "chart");
    box.append(element("h4", "", title), where);
    panel.append(box);
    later.push(() => draw(where, layer));
  };
  if (layer.values) place("Values and the grid's ends", histogram);
  if (layer.weights) place("Weights per channel", weightRanges);
  return {detail, draw: () => later.forEach(f => f())};
}

function toggle(layer) {
  const entry = rows.get(layer), isOpen = entry.row.classList.toggle("open");
  entry.row.querySelector(".toggle").setAttribute("aria-expanded", String(isOpen));
  if (isOpen) {
    const {detail, draw} = makeDetail(layer);
    entry.detail = detail;
    entry.row.after(detail);
    draw();
  } else {
    entry.detail.remove();
    entry.detail = null;
  }
}

function reveal(layer) {
  if (rows.get(layer).row.hidden) { byId("filters").reset(); filter(); }
  if (!rows.get(layer).detail) toggle(layer);
  rows.get(layer).row.scrollIntoView({block: "start"});
}

function sort() {
  const column = columns.find(c => c.key === order.key), sign = order.ascending ? 1 : -1;
  const sorted = [...layers].sort((a, b) => {
    const x = column.value(a), y = column.value(b);
    if (x == null || y == null) return (x == null) - (y == null) || a.index - b.index;  // missing values come last
    return sign * d3.ascending(x, y) || a.index - b.index;
  });
  const body = document.querySelector("#layers tbody");
  for (const layer of sorted) {
    const entry = rows.get(layer);
    body.append(entry.row);
    if (entry.detail) body.append(entry.detail);
  }
  for (const head of document.querySelectorAll("#layers th"))
    head.setAttribute("aria-sort", head.dataset.key === order.key ? (order.ascending ? "ascending" : "descending") : "none");
  byId("sort-select").value = order.key;
}

function sortBy(key, again) {
  const column = columns.find(c => c.key === key), first = Boolean(column.words || column.ascending);
  order = {key, ascending: again && order.key === key ? !order.ascending : first};
  sort();
}

function filter() {
  const text = byId("filter-text").value.trim().toLowerCase();
  const onlyWeights = byId("filter-weights").checked, onlyFindings = byId("filter-findings").checked;
  let shown = 0;
  for (const layer of layers) {
    const isShown = (layer.name + " " + layer.op).toLowerCase().includes(text) && (!onlyWeights || layer.has_weights) &&
      (!onlyFindings || layer.findings.length > 0);
    const entry = rows.get(layer);
    entry.row.hidden = !isShown;
    if (entry.detail) entry.detail.hidden = !isShown;
    shown += isShown;
  }
  byId("count").textContent = shown === layers.length ? `${shown} layers` : `${shown} of ${layers.length} layers`;
}

function table() {
  const head = document.querySelector("#layers thead tr");
  for (const column of columns) {
    const cell = element("th", column.words ? "words" : ""), button = element("button", "", column.title);
    cell.scope = "col";
    cell.dataset.key = column.key;
    button.type = "button";
    if (column.hint) button.title = column.hint;
    button.onclick = () => sortBy(column.key, true);
    cell.append(button);
    head.append(cell);
    const option = element("option", "", column.key === "name" ? "Order in the network" : column.title);
    option.value = column.key;
    byId("sort-select").append(option);
  }
  layers.forEach((layer, index) => {
    layer.index = index;
    rows.set(layer, {row: makeRow(layer), detail: null});
  });
  byId("sort-select").onchange = event => sortBy(event.target.value, false);
  byId("filters").oninput = filter;
  byId("filters").onsubmit = event => event.preventDefault();
  sort();
  filter();
}

summary();
findings();
mixed();
sensitivity();
table();
