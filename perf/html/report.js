"use strict";
// Draws the report. Every chart is a function of the width it gets and is drawn again when that
// changes. Colours: Okabe and Ito's palette, and viridis for levels; both are safe for the
// colour-blind, and no meaning is told by colour alone: everything has a label or a title.
const report = JSON.parse(document.getElementById("report").textContent);
const main = document.getElementById("main");
// What a report leaves out or has none of is an empty list here.
for (const r of (report.runs ||= [])) {
  for (const p of (r.phases ||= [])) {
    for (const name of ["latency", "series", "jobs", "levels"]) p[name] ||= [];
    if (p.settled) p.settled.rows ||= [];
  }
}

const LEVEL = ["#5a3d8a", "#3f5a9a", "#2f7a9c", "#219a8c", "#3fb873", "#8fd744", "#f2dc35"];
const CAUSE = { wal: "#8d99a6", flush: "#56b4e9", blob: "#cc79a7", manifest: "#e69f00" };
const ENGINE = ["var(--accent)", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8d99a6"];
const REASON = {
  flush: "#56b4e9", move: "#8d99a6", l0files: "#e69f00", size: "#0072b2", runs: "#009e73", space: "#cc79a7",
  tombstones: "#d55e00", expired: "#f0e442", snapshot: "#5a3d8a", manual: "#7f6fc4", marked: "#b08968", values: "#219a8c",
};

// Text.
const esc = (s) => String(s).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const three = (v) => (v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toFixed(2));
const count = (n) => Math.round(n).toLocaleString("en-US");
const short = (n) => (n >= 1e6 ? trim(n / 1e6) + "M" : n >= 1e3 ? trim(n / 1e3) + "k" : trim(n));
const trim = (v) => String(+v.toPrecision(3));
function bytes(n) {
  const u = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i < 4; i++) n /= 1024;
  return (i ? three(n) : n.toFixed(0)) + " " + u[i];
}
function seconds(ns) {
  if (ns < 1e3) return Math.round(ns) + " ns";
  if (ns < 1e6) return three(ns / 1e3) + " µs";
  if (ns < 1e9) return three(ns / 1e6) + " ms";
  return three(ns / 1e9) + " s";
}
const power = (ns) => (ns < 1e3 ? ns + " ns" : ns < 1e6 ? ns / 1e3 + " µs" : ns < 1e9 ? ns / 1e6 + " ms" : ns / 1e9 + " s");

// Page.
function add(parent, tag, html, cls) {
  const e = document.createElement(tag);
  if (html !== undefined) e.innerHTML = html;
  if (cls) e.className = cls;
  parent.appendChild(e);
  return e;
}
const drawn = [];
function chart(parent, title, caption, legend, draw) {
  const f = add(parent, "figure");
  add(f, "h3", esc(title));
  if (caption) add(f, "figcaption", caption);
  if (legend && legend.length) {
    add(f, "ul", legend.map(([name, colour, style]) =>
      `<li><i class="${style || ""}" style="background:${colour};border-color:${colour}"></i>${esc(name)}</li>`).join(""), "legend");
  }
  const box = add(f, "div");
  let last = 0;
  const again = () => {
    const w = Math.floor(box.clientWidth);
    if (w > 0 && w !== last) {
      last = w;
      box.innerHTML = draw(w);
    }
  };
  drawn.push(again);
  return f;
}
function table(parent, head, rows, cls) {
  const box = add(parent, "div", undefined, "wide");
  add(box, "table", `<thead><tr>${head.map((h) => `<th>${esc(h)}</th>`).join("")}</tr></thead><tbody>` +
    rows.map((r) => `<tr>${r.map((c) => (c && c.html !== undefined ? `<td class="${c.cls || ""}">${c.html}</td>` : `<td>${esc(c ?? "")}</td>`)).join("")}</tr>`).join("") +
    "</tbody>", cls);
}

// Drawing.
const line = (x1, y1, x2, y2, cls) => `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" class="${cls}"/>`;
const text = (x, y, s, anchor, cls) => `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor || "start"}" class="${cls || ""}">${esc(s)}</text>`;
function rect(x, y, w, h, fill, title, more) {
  return `<rect x="${x.toFixed(2)}" y="${y.toFixed(2)}" width="${Math.max(0, w).toFixed(2)}" height="${Math.max(0, h).toFixed(2)}" fill="${fill}" ${more || ""}>${title ? `<title>${esc(title)}</title>` : ""}</rect>`;
}
const svg = (w, h, body) => `<svg width="${w}" height="${h}" viewBox="0 0 ${w} ${h}" role="img">${body}</svg>`;
function niceStep(span, n) {
  const raw = span / Math.max(1, n), p = Math.pow(10, Math.floor(Math.log10(raw)));
  for (const m of [1, 2, 2.5, 5, 10]) if (m * p >= raw) return m * p;
  return 10 * p;
}
function ticks(max, n) {
  const out = [];
  if (!(max > 0)) return [0];
  const step = niceStep(max, n);
  for (let v = 0; v <= max * 1.0001; v += step) out.push(v);
  return out;
}
function byteTicks(max, n) {
  let unit = 1;
  while (unit * 1024 <= max) unit *= 1024;
  return ticks(max / unit, n).map((v) => v * unit);
}

// LEFT is the room for labels left of every chart over time, so that their axes agree.
const LEFT = 62;

// A run on one axis of time: its phases one after the other.
function timeline(run) {
  let at = 0;
  const phases = (run.phases || []).map((p) => {
    const series = p.series || [];
    const end = Math.max(p.elapsed_ns + (p.settle_ns || 0), series.length ? series[series.length - 1].at_ns : 0);
    const phase = { p, start: at, work: at + p.elapsed_ns, end: at + end };
    at += end;
    return phase;
  });
  return { phases, total: Math.max(at, 1) };
}
function timeFrame(run, w, h, left) {
  const t = timeline(run), top = 24, bottom = 34, right = 10;
  const x = (ns) => left + (ns / t.total) * (w - left - right);
  let body = "";
  const secs = t.total / 1e9, step = niceStep(secs, Math.max(3, Math.floor((w - left) / 90)));
  for (let s = 0; s <= secs * 1.0001; s += step) {
    body += line(x(s * 1e9), top, x(s * 1e9), h - bottom, "grid") + text(x(s * 1e9), h - bottom + 16, trim(s), "middle");
  }
  body += text((left + w - right) / 2, h - 3, "seconds since the beginning", "middle");
  const named = t.phases.every((f) => x(f.end) - x(f.start) > f.p.workload.length * 6.4 + 6);
  let last = -99;
  t.phases.forEach((f, i) => {
    const a = x(f.start), b = x(f.end);
    if (f.end - f.work > 0.004 * t.total && f.p.settle_ns) {
      body += rect(x(f.work), top, b - x(f.work), h - top - bottom, "var(--settle)", `${f.p.workload}: settling for ${seconds(f.p.settle_ns)}`, 'opacity="0.16"');
    }
    if (i > 0) body += line(a, top - 4, a, h - bottom, "edge");
    const middle = (a + b) / 2;
    if (named) body += text(middle, 14, f.p.workload, "middle", "strong");
    else if (middle - last > 13) {
      body += text(middle, 14, String(i + 1), "middle", "strong");
      last = middle;
    }
  });
  return { t, x, top, bottom: h - bottom, left, right: w - right, body };
}
function phaseNames(run, w) {
  const t = timeline(run), usable = w - 70;
  if (t.phases.every((f) => ((f.end - f.start) / t.total) * usable > f.p.workload.length * 6.4 + 6)) return "";
  return t.phases.map((f, i) => `${i + 1} ${esc(f.p.workload)}`).join(" · ");
}
function yAxis(f, values, y, label) {
  return values.map((v) => line(f.left, y(v), f.right, y(v), "grid") + text(f.left - 6, y(v) + 4, label(v), "end")).join("");
}

function throughput(parent, run) {
  let most = 0, stalled = false;
  const steps = timeline(run).phases.map((f) => {
    let was = { at_ns: 0, ops: 0, stalled_ns: 0 };
    return (f.p.series || []).map((p) => {
      const dt = p.at_ns - was.at_ns;
      const s = { a: f.start + was.at_ns, b: f.start + p.at_ns, rate: dt > 0 ? ((p.ops - was.ops) * 1e9) / dt : 0, stall: p.stalled_ns - was.stalled_ns, share: dt > 0 ? (p.stalled_ns - was.stalled_ns) / dt / Math.max(1, f.p.threads) : 0, name: f.p.workload };
      was = p;
      if (dt > 2e7) most = Math.max(most, s.rate);
      if (s.stall > 0) stalled = true;
      return s;
    }).filter((s) => s.b - s.a > 2e7);
  });
  const means = run.phases.map((p) => p.throughput).filter((v) => v > 0);
  if (!means.length) return;
  const log = Math.max(...means) > 25 * Math.min(...means);
  const low = Math.floor(Math.log10(Math.max(1, Math.min(...means) / 10))), high = Math.ceil(Math.log10(Math.max(10, most)));
  const legend = [["operations per second", "var(--accent)"]];
  if (stalled) legend.push(["writes held back (stalls): the darker, the longer", "var(--stall)"]);
  legend.push(["settling after the last operation", "var(--settle)"]);
  chart(parent, "Throughput over time", "operations per second in each interval" + (log ? ", logarithmic since the workloads are far apart; " : "; ") + (stalled ? "stalls as the engine tells them" : "the engine tells of no stalls"), legend, (w) => {
    const h = 240, f = timeFrame(run, w, h, LEFT);
    const share = (v) => (log ? Math.max(0, (Math.log10(Math.max(1, v)) - low) / (high - low)) : v / (most * 1.06 || 1));
    const y = (v) => f.bottom - share(v) * (f.bottom - f.top);
    const powers = [];
    for (let e = low; e <= high; e++) powers.push(Math.pow(10, e));
    let body = yAxis(f, log ? powers : ticks(most * 1.06, 4), y, short);
    for (const phase of steps) {
      for (const s of phase) {
        if (s.stall > 0) body += rect(f.x(s.a), f.top, f.x(s.b) - f.x(s.a), f.bottom - f.top, "var(--stall)", `${s.name}: ${seconds(s.stall)} of stalls in ${seconds(s.b - s.a)}`, `opacity="${(0.12 + 0.5 * Math.min(1, s.share)).toFixed(2)}"`);
      }
      if (!phase.length) continue;
      let d = `M${f.x(phase[0].a).toFixed(1)} ${f.bottom}`, top = "";
      for (const s of phase) {
        const seg = `L${f.x(s.a).toFixed(1)} ${y(s.rate).toFixed(1)}L${f.x(s.b).toFixed(1)} ${y(s.rate).toFixed(1)}`;
        d += seg;
        top += top ? seg : "M" + seg.slice(1);
      }
      body += `<path d="${d}L${f.x(phase[phase.length - 1].b).toFixed(1)} ${f.bottom}Z" fill="var(--accent)" opacity="0.18"/><path d="${top}" fill="none" stroke="var(--accent)" stroke-width="1.6" stroke-linejoin="round"/>`;
      for (const s of phase) body += rect(f.x(s.a), f.top, f.x(s.b) - f.x(s.a), f.bottom - f.top, "transparent", `${s.name}, ${(s.a / 1e9).toFixed(1)} to ${(s.b / 1e9).toFixed(1)} s: ${count(s.rate)} operations/s`);
    }
    return svg(w, h, f.body + body + line(f.left, f.bottom, f.right, f.bottom, "axis"));
  });
}

function longest(parent, run) {
  const points = timeline(run).phases.flatMap((f) => (f.p.series || []).filter((p) => p.longest_ns > 0).map((p) => ({ at: f.start + p.at_ns, v: p.longest_ns, name: f.p.workload })));
  if (!points.length) return;
  const low = Math.floor(Math.log10(Math.min(...points.map((p) => p.v)))), high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...points.map((p) => p.v)))));
  chart(parent, "Longest operation", "the longest operation that ended in each interval; logarithmic", [], (w) => {
    const h = 190, f = timeFrame(run, w, h, LEFT);
    const y = (v) => f.bottom - ((Math.log10(v) - low) / (high - low)) * (f.bottom - f.top);
    const at = [];
    for (let e = low; e <= high; e++) at.push(Math.pow(10, e));
    let body = yAxis(f, at, y, power);
    for (const p of points) body += `<circle cx="${f.x(p.at).toFixed(1)}" cy="${y(p.v).toFixed(1)}" r="2.6" fill="#d55e00" opacity="0.85"><title>${esc(p.name)}, ${(p.at / 1e9).toFixed(1)} s: ${seconds(p.v)}</title></circle>`;
    return svg(w, h, f.body + body + line(f.left, f.bottom, f.right, f.bottom, "axis"));
  });
}

function jobs(parent, run) {
  const all = timeline(run).phases.flatMap((f) => (f.p.jobs || []).map((j) => ({ ...j, a: f.start + j.at_ns, b: f.start + j.at_ns + j.took_ns, phase: f.p.workload })));
  if (!all.length) return;
  const left = (run.phases || []).reduce((n, p) => n + (p.jobs_left_out || 0), 0);
  const colour = (j) => REASON[j.kind === "compaction" ? j.reason : j.kind] || "#8d99a6";
  const kinds = [...new Set(all.map((j) => (j.kind === "compaction" ? j.reason : j.kind)))];
  const names = { flush: "flush of a memtable", move: "moved without rewriting", l0files: "L0 has too many files", size: "level above its size", runs: "too many sorted runs", space: "too much space", tombstones: "mostly deletions", expired: "expired values", snapshot: "what a closed snapshot saw", manual: "asked for", marked: "marked by RocksDB", values: "dead values of blob files" };
  const rows = new Map();
  for (const j of all.sort((p, q) => p.a - q.a)) {
    const id = j.kind === "flush" ? "flush" : `into L${j.to}`;
    if (!rows.has(id)) rows.set(id, { id, order: j.kind === "flush" ? -1 : j.to, lanes: [] });
    const lanes = rows.get(id).lanes;
    let lane = lanes.findIndex((b) => b <= j.a);
    if (lane < 0) lane = lanes.push(0) - 1;
    lanes[lane] = j.b;
    j.row = id;
    j.lane = lane;
  }
  const order = [...rows.values()].sort((p, q) => p.order - q.order);
  chart(parent, "Compaction timeline", "each bar is one flush or compaction, from its beginning to its end, in the row of the level it writes" + (left ? `; ${count(left)} of the shortest are left out` : ""),
    kinds.map((k) => [names[k] || k, REASON[k] || "#8d99a6"]), (w) => {
      const lane = 13, gap = 9;
      const height = order.reduce((n, r) => n + r.lanes.length * lane + gap, 0), h = height + 24 + 34 + 4;
      const f = timeFrame(run, w, h, LEFT);
      let y = f.top + 6, body = "";
      const at = new Map();
      for (const r of order) {
        at.set(r.id, y);
        body += text(f.left - 8, y + (r.lanes.length * lane) / 2 + 3.5, r.id, "end");
        y += r.lanes.length * lane + gap;
        body += line(f.left, y - gap / 2, f.right, y - gap / 2, "grid");
      }
      for (const j of all) {
        body += rect(f.x(Math.max(0, j.a)), at.get(j.row) + j.lane * lane, Math.max(1.5, f.x(j.b) - f.x(Math.max(0, j.a))), lane - 2, colour(j),
          `${j.kind}${j.reason ? " (" + j.reason + ")" : ""} ${j.from < 0 ? "memory" : "L" + j.from} to L${j.to}: read ${bytes(j.read)}, wrote ${bytes(j.written)} in ${seconds(j.took_ns)}, at ${(j.a / 1e9).toFixed(1)} s of ${j.phase}`, 'rx="1.5"');
      }
      return svg(w, h, f.body + body + line(f.left, f.bottom, f.right, f.bottom, "axis"));
    });
}

function levelSizes(parent, run) {
  const t = timeline(run);
  let most = 0, deep = 0;
  const used = new Set();
  const points = t.phases.map((f) => (f.p.series || []).map((p) => {
    const sizes = p.levels || [];
    sizes.forEach((n, i) => { if (n > 0) used.add(i); });
    deep = Math.max(deep, sizes.length);
    most = Math.max(most, p.disk, sizes.reduce((a, b) => a + b, 0));
    return { at: f.start + p.at_ns, sizes, disk: p.disk };
  }));
  for (const f of t.phases) most = Math.max(most, f.p.space.live);
  if (!most) return;
  const legend = [...used].sort().map((i) => ["L" + i, LEVEL[Math.min(i, 6)]]);
  legend.push(["the whole directory, logs too", "var(--text)", "line"], ["keys and values that can be read", "var(--soft)", "line dash"]);
  chart(parent, "Level sizes over time", "bytes of tables in each level, stacked", legend, (w) => {
    const h = 250, f = timeFrame(run, w, h, LEFT), y = (v) => f.bottom - (v / (most * 1.05)) * (f.bottom - f.top);
    let body = yAxis(f, byteTicks(most * 1.05, 4), y, (v) => (v ? bytes(v).replace(/\.0+ /, " ") : "0"));
    const flat = points.flat();
    for (let l = deep - 1; l >= 0; l--) {
      if (!used.has(l) || flat.length < 2) continue;
      const below = (p) => p.sizes.slice(l + 1).reduce((a, b) => a + b, 0), own = (p) => below(p) + (p.sizes[l] || 0);
      const d = flat.map((p, i) => `${i ? "L" : "M"}${f.x(p.at).toFixed(1)} ${y(own(p)).toFixed(1)}`).join("") + [...flat].reverse().map((p) => `L${f.x(p.at).toFixed(1)} ${y(below(p)).toFixed(1)}`).join("") + "Z";
      body += `<path d="${d}" fill="${LEVEL[Math.min(l, 6)]}" opacity="0.9" stroke="var(--card)" stroke-width="0.5"><title>L${l}</title></path>`;
    }
    body += `<path d="${flat.map((p, i) => `${i ? "L" : "M"}${f.x(p.at).toFixed(1)} ${y(p.disk).toFixed(1)}`).join("")}" fill="none" stroke="var(--text)" stroke-width="1.4"/>`;
    for (const p of t.phases) body += `<line x1="${f.x(p.start).toFixed(1)}" x2="${f.x(p.end).toFixed(1)}" y1="${y(p.p.space.live).toFixed(1)}" y2="${y(p.p.space.live).toFixed(1)}" stroke="var(--soft)" stroke-width="1.4" stroke-dasharray="5 4"><title>${esc(p.p.workload)}: ${bytes(p.p.space.live)} live</title></line>`;
    for (const p of flat) body += rect(f.x(p.at) - 3, f.top, 6, f.bottom - f.top, "transparent", `${(p.at / 1e9).toFixed(1)} s: directory ${bytes(p.disk)}` + p.sizes.map((n, i) => (n ? `, L${i} ${bytes(n)}` : "")).join(""));
    return svg(w, h, f.body + body + line(f.left, f.bottom, f.right, f.bottom, "axis"));
  });
}

// Latency: one chart for each workload, a line for each engine and kind of operation.
function latencies(parent, runs) {
  const colours = new Map(runs.map((r, i) => [r.name, ENGINE[i % ENGINE.length]]));
  (runs[0].phases || []).forEach((p, place) => {
    const lines = runs.flatMap((r) => ((r.phases[place] || {}).latency || []).filter((l) => (l.curve || []).length > 1).map((l) => ({ name: r.name, op: l.op, l })));
    if (!lines.length) return;
    const ops = [...new Set(lines.map((l) => l.op))];
    const dash = (op) => ["", "6 3", "2 3", "8 3 2 3"][ops.indexOf(op) % 4];
    const legend = [...new Set(lines.map((l) => l.name))].map((n) => [n, colours.get(n), "line"]);
    const style = ops.length > 1 ? ops.map((o) => `${o}: ${["solid", "dashed", "dotted", "dash-dot"][ops.indexOf(o) % 4]}`).join(", ") + "; " : "";
    const most = Math.max(...lines.map((l) => l.l.count)), nines = Math.max(1, Math.min(7, Math.floor(Math.log10(most))));
    const values = lines.flatMap((l) => l.l.curve.map((q) => Math.max(1, q.ns)));
    const low = Math.floor(Math.log10(Math.min(...values))), high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
    chart(parent, `Latency: ${p.workload}`, `${style}${p.loop} loop, ${count(p.ops)} operations; both axes logarithmic`, legend, (w) => {
      const h = 230, left = 52, right = 14, top = 8, bottom = h - 36;
      const x = (share) => left + (Math.min(nines + 0.3, share >= 1 ? nines + 0.3 : -Math.log10(1 - share)) / (nines + 0.3)) * (w - left - right);
      const y = (v) => bottom - ((Math.log10(Math.max(1, v)) - low) / (high - low)) * (bottom - top);
      let body = "";
      for (let e = low; e <= high; e++) body += line(left, y(Math.pow(10, e)), w - right, y(Math.pow(10, e)), "grid") + text(left - 6, y(Math.pow(10, e)) + 4, power(Math.pow(10, e)), "end");
      let free = -99;
      for (let n = 0; n <= nines; n++) {
        const share = n ? 1 - Math.pow(10, -n) : 0, name = n ? (n < 3 ? (share * 100).toFixed(0) : (share * 100).toFixed(n - 2)) : "0";
        body += line(x(share), top, x(share), bottom, "grid");
        if (x(share) - name.length * 3.2 < free) continue;
        body += text(x(share), bottom + 16, name, "middle");
        free = x(share) + name.length * 3.2 + 8;
      }
      body += text((left + w - right) / 2, h - 3, "percentile", "middle");
      for (const l of lines) {
        body += `<path d="${l.l.curve.map((q, i) => `${i ? "L" : "M"}${x(q.share).toFixed(1)} ${y(q.ns).toFixed(1)}`).join("")}" fill="none" stroke="${colours.get(l.name)}" stroke-width="1.9" stroke-dasharray="${dash(l.op)}" stroke-linejoin="round"/>`;
        for (const q of l.l.curve) body += `<circle cx="${x(q.share).toFixed(1)}" cy="${y(q.ns).toFixed(1)}" r="5" fill="transparent"><title>${esc(l.name)} ${l.op}: ${(q.share * 100).toPrecision(6).replace(/\.?0+$/, "")} % within ${seconds(q.ns)}</title></circle>`;
      }
      return svg(w, h, body + line(left, bottom, w - right, bottom, "axis"));
    });
  });
}

// Write amplification: a bar for each run and phase that writes, stacked by cause and level.
function amplification(parent, runs) {
  const bars = runs.flatMap((r) => (r.phases || []).filter((p) => p.settled && p.settled.user_bytes > 0 && p.settled.total > 0).map((p) => ({ r, p, a: p.settled })));
  if (!bars.length) return;
  const key = (row) => (row.cause === "compaction" ? `L${row.level}` : row.cause);
  const colour = (k) => (/^L\d/.test(k) ? LEVEL[Math.min(+k.slice(1), 6)] : CAUSE[k] || "#b9a98f");
  const rank = (k) => (/^L\d/.test(k) ? 2 + +k.slice(1) : { wal: 0, flush: 1, blob: 20, manifest: 21 }[k] ?? 22);
  const keys = [...new Set(bars.flatMap((b) => b.a.rows.map(key)))].sort((p, q) => rank(p) - rank(q));
  const name = (k) => ({ wal: "log", flush: "flush", blob: "blob files", manifest: "manifest" })[k] || (/^L\d/.test(k) ? `compaction into ${k}` : k);
  const most = Math.max(...bars.map((b) => Math.max(b.a.factor, b.a.kernel.comparable ? b.a.kernel.factor : 0, (b.p.predicted || {}).factor || 0)));
  const legend = keys.map((k) => [name(k), colour(k)]);
  if (bars.some((b) => b.a.kernel.comparable)) legend.push(["the kernel's count", "var(--text)", "line"]);
  if (bars.some((b) => b.p.predicted)) legend.push(["what the formula predicts", "var(--bad)", "line dash"]);
  chart(parent, "Write amplification by cause and level", "bytes written for each byte of keys and values accepted, from the beginning of the phase until it has settled", legend, (w) => {
    const row = 47, left = 2, right = 52, h = bars.length * row + 38;
    const x = (v) => left + (v / (most * 1.02)) * (w - left - right);
    let body = "";
    for (const v of ticks(most * 1.02, Math.max(3, Math.floor(w / 110)))) body += line(x(v), 0, x(v), bars.length * row, "grid") + text(x(v), bars.length * row + 15, trim(v), "middle");
    body += text((left + w - right) / 2, h - 4, "bytes written / bytes accepted", "middle");
    bars.forEach((b, i) => {
      const y = i * row + 18;
      body += text(left, y - 5, `${b.r.name} · ${b.p.workload}`, "start", "strong");
      let at = 0;
      for (const k of keys) {
        const rows = b.a.rows.filter((r) => key(r) === k), n = rows.reduce((s, r) => s + r.bytes, 0);
        if (!n) continue;
        const v = n / b.a.user_bytes, width = x(at + v) - x(at);
        body += rect(x(at), y, width, 20, colour(k), `${name(k)}: ${v.toFixed(2)} (${bytes(n)})` + rows.filter((r) => r.reason && r.reason !== r.cause).map((r) => `\n${r.reason}: ${(r.bytes / b.a.user_bytes).toFixed(2)}`).join(""), 'stroke="var(--card)" stroke-width="1"');
        const label = `${/^L\d/.test(k) ? k + " " : ""}${v.toFixed(2)}`;
        if (width > label.length * 6.4 + 6) body += `<text x="${(x(at) + width / 2).toFixed(1)}" y="${y + 14}" text-anchor="middle" style="fill:${/^L[0-2]$/.test(k) ? "#fff" : "#14171b"}">${label}</text>`;
        at += v;
      }
      if (b.a.kernel.comparable) body += `<line x1="${x(b.a.kernel.factor).toFixed(1)}" x2="${x(b.a.kernel.factor).toFixed(1)}" y1="${y - 3}" y2="${y + 23}" stroke="var(--text)" stroke-width="2"><title>the kernel counted ${b.a.kernel.factor.toFixed(2)}</title></line>`;
      const said = b.p.predicted;
      if (said) body += `<line x1="${x(said.factor).toFixed(1)}" x2="${x(said.factor).toFixed(1)}" y1="${y - 3}" y2="${y + 23}" stroke="var(--bad)" stroke-width="2" stroke-dasharray="3 2"><title>the formula predicts ${said.factor.toFixed(2)}</title></line>`;
      body += text(Math.max(x(at), b.a.kernel.comparable ? x(b.a.kernel.factor) : 0) + 7, y + 14.5, b.a.factor.toFixed(2), "start", "strong halo");
    });
    return svg(w, h, body);
  });
}

// Figures.
function middle(runs) {
  const time = (r) => (r.phases || []).reduce((n, p) => n + p.elapsed_ns, 0);
  return [...runs].sort((p, q) => time(p) - time(q))[Math.floor((runs.length - 1) / 2)];
}
function summary(parent, groups) {
  const rows = [];
  for (const [name, runs] of groups) {
    runs[0].phases.forEach((_, i) => {
      const list = runs.map((r) => r.phases[i]).filter(Boolean).sort((p, q) => p.throughput - q.throughput);
      const p = list[Math.floor(list.length / 2)];
      (p.latency.length ? p.latency : [null]).forEach((l, k) => {
        rows.push([i + k ? "" : name, k ? "" : p.workload, k || !p.ops ? "" : count(p.throughput), ...(l ? [l.op, seconds(l.p50_ns), seconds(l.p99_ns), seconds(l.p99_9_ns), seconds(l.max_ns)] : ["", "", "", "", ""]),
          k || !p.settled ? "" : p.settled.factor.toFixed(2), k || !p.space.live ? "" : (p.space.end / p.space.live).toFixed(2), k || !p.space.live ? "" : (p.space.peak / p.space.live).toFixed(2), k ? "" : bytes(p.process.peak_rss)]);
      });
    });
  }
  const card = add(parent, "div", undefined, "card");
  table(card, ["", "workload", "ops/s", "operation", "p50", "p99", "p99.9", "max", "write amp", "space settled", "peak", "memory"], rows);
}

(function () {
  const m = report.machine, b = report.build;
  main.innerHTML = "";
  add(main, "h1", `kvbench ${esc(report.kind)}`);
  add(main, "p", `${esc(report.time.replace("T", " ").replace("Z", " UTC"))} · ${m.cpus} CPUs, ${esc(m.os)}/${esc(m.arch)}, ${esc(m.file_system)} · ${esc(b.go)}${b.cgo ? "" : " without cgo"}${b.revision ? " · commit " + esc(b.revision.slice(0, 12)) + (b.modified ? " with changes" : "") : ""}`, "soft");
  if (report.command) add(main, "p", `<code>${report.command.map((a, i) => `<span>${esc(i ? a : a.replace(/^.*\//, ""))}</span>`).join(" ")}</code>`);
  const groups = new Map();
  for (const r of report.runs || []) {
    if (!groups.has(r.name)) groups.set(r.name, []);
    groups.get(r.name).push(r);
  }
  if (!groups.size) { add(main, "p", "No run finished."); return; }
  const scenario = report.kind === "scenario";
  const shown = [...groups.values()].map(middle);
  const wrong = (report.runs || []).flatMap((r) => [...(r.problems || []), ...(r.phases || []).flatMap((p) => (p.problems || []).map((x) => `${r.name}, ${p.workload}: ${x}`))]);
  if (wrong.length) add(add(main, "div", `<h3 class="bad">This measurement is wrong</h3>`, "card"), "ul", wrong.map((x) => `<li>${esc(x)}</li>`).join(""), "problems");

  const findings = shown.flatMap((r) => (r.findings || []).map((f, i) => [i ? "" : r.name, f.name, f.value, f.target || "", f.target ? { html: f.met ? "met" : "missed", cls: f.met ? "good" : "bad" } : ""]));
  if (findings.length) {
    add(main, "h2", "What the scenarios found");
    table(add(main, "div", undefined, "card"), ["", "figure", "value", "target", ""], findings, "words");
  }
  const rounds = Math.max(...[...groups.values()].map((r) => r.length));
  add(main, "h2", rounds > 1 ? `Figures: the median of ${rounds} rounds` : "Figures");
  summary(main, groups);
  if ((report.ratios || []).length) {
    const card = add(main, "div", `<h3>${esc(report.ratios[0].engine)} beside the best of the others</h3><p class="soft">its figure divided by that of the best peer in the same round, median of ${report.ratios[0].rounds} round(s); ↑ more than 1 is better, ↓ less than 1 is better</p>`, "card");
    const names = [...new Set(report.ratios.map((r) => r.metric))], rows = new Map();
    for (const r of report.ratios) {
      const id = r.workload + " " + (r.op || "");
      if (!rows.has(id)) rows.set(id, { r, cells: new Map() });
      const equal = Math.abs(r.ratio - 1) < 0.005, good = r.ratio > 1 === (r.better === "higher");
      const range = r.rounds > 1 ? `, ${r.low.toFixed(2)} to ${r.high.toFixed(2)}` : "";
      rows.get(id).cells.set(r.metric, { html: `<span title="${equal ? "equal" : good ? "better" : "worse"}${range}" class="${equal ? "" : good ? "good" : "bad"}">${r.ratio.toFixed(2)}×</span><br><small>${esc(r.best)}${r.rounds > 1 ? `<br>${r.low.toFixed(2)}–${r.high.toFixed(2)}` : ""}</small>` });
    }
    const arrow = (n) => (report.ratios.find((r) => r.metric === n).better === "higher" ? "↑" : "↓");
    table(card, ["workload", "", ...names.map((n) => `${n} ${arrow(n)}`)], [...rows.values()].map((x) => [x.r.workload, x.r.op || "", ...names.map((n) => x.cells.get(n) || "")]), "ratios");
  }

  if ((report.verdicts || []).length) {
    const card = add(main, "div", "<h3>Beside each peer</h3><p class=\"soft\">the policy that writes least in no more space; it should write at most 0.90 as much</p>", "card");
    const two = (v) => v.toFixed(2);
    table(card, ["", "step", "space at", "space", "write amp", "least of ours", "space", "write amp", "ratio", ""],
      report.verdicts.map((v, i, all) => [i && all[i - 1].peer === v.peer ? "" : v.peer, v.step, v.moment, two(v.space), two(v.factor), v.own || "none", ...(v.own ? [two(v.own_space), two(v.own_factor), two(v.ratio)] : ["", "", ""]),
        { html: v.met ? "met" : "missed", cls: v.met ? "good" : "bad" }]));
  }
  if (!scenario) {
    amplification(main, shown);
    add(main, "h2", "Latency");
    latencies(add(main, "div", undefined, "pair"), shown);
  }
  for (const run of shown) {
    const n = groups.get(run.name).length;
    add(main, "h2", `Over time: ${esc(run.name)}${n > 1 ? ` <span class="soft">round ${run.round + 1} of ${n}</span>` : ""}`);
    const numbers = phaseNames(run, Math.min(1120, document.documentElement.clientWidth));
    if (numbers) add(main, "p", numbers, "soft");
    throughput(main, run);
    longest(main, run);
    jobs(main, run);
    levelSizes(main, run);
    if (scenario) {
      amplification(main, [run]);
      latencies(add(main, "div", undefined, "pair"), [run]);
    }
  }
  if ((report.fairness || []).length) {
    const engines = [...new Set(report.runs.map((r) => r.config.engine))];
    const d = add(main, "div", undefined, "card");
    const box = add(d, "details", "<summary>Conditions of each engine</summary>");
    table(box, ["", ...engines], report.fairness.map((f) => [f.name, ...engines.map((e) => f.values[e] || "")]), "words");
  }
  const setup = add(add(main, "div", undefined, "card"), "details", "<summary>Configuration</summary>");
  table(setup, ["", ""], Object.entries(report.config).map(([k, v]) => [k, typeof v === "number" && ["value_size", "memory", "memtable"].includes(k) ? bytes(v) : String(v)]), "words");

  const all = () => drawn.forEach((d) => d());
  all();
  new ResizeObserver(all).observe(main);
})();
