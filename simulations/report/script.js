// Optional: without it everything can be read. With it, a theme can be chosen, variants be switched off, and values be
// read by pointing.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const recall = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem("theme", theme); } catch { /* a page that may keep nothing */ } };
  const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const button = document.getElementById("theme");
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  if (recall()) root.dataset.theme = recall();
  name();
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    keep(root.dataset.theme);
    name();
  });

  for (const one of document.querySelectorAll(".switches button")) {
    const section = one.closest("section");
    const show = (on) => {
      one.setAttribute("aria-pressed", String(on));
      for (const each of section.querySelectorAll(`.plots [data-variant="${one.dataset.of}"]`)) each.classList.toggle("off", !on);
    };
    if (one.dataset.start === "off") show(false);
    one.addEventListener("click", () => show(one.getAttribute("aria-pressed") !== "true"));
  }

  const significant = (value) => (value === 0 ? "0" : Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3))));
  const written = (value, kind) => {
    if (kind === "part") return `${significant(value * 100)} %`;
    if (kind !== "time") return significant(value);
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (Math.abs(value) >= 2 * size) return `${significant(value / size)} ${unit}`;
    return `${significant(value)} s`;
  };
  const axis = (area, name) => {
    const low = Number(area.dataset[`${name}Low`]), high = Number(area.dataset[`${name}High`]);
    const log = `${name}Log` in area.dataset, kind = area.dataset[name];
    const value = (part) => (log ? Math.exp(Math.log(low) + part * (Math.log(high) - Math.log(low))) : low + part * (high - low));
    return (part) => written(value(part), kind);
  };
  const points = new WeakMap();
  const pieces = (path) => {
    if (!points.has(path)) {
      points.set(path, path.getAttribute("d").split("M").slice(1).map((piece) => piece.replace(/Z/g, "").split("L").map((pair) => pair.split(",").map(Number))));
    }
    return points.get(path);
  };
  const heightAt = (path, x) => {
    for (const piece of pieces(path)) {
      if (piece.length < 1 || x < piece[0][0] || x > piece[piece.length - 1][0]) continue;
      let low = 0, high = piece.length - 1;
      while (high - low > 1) { const middle = (low + high) >> 1; if (piece[middle][0] <= x) low = middle; else high = middle; }
      const [one, other] = [piece[low], piece[high]];
      return other[0] === one[0] ? other[1] : one[1] + ((x - one[0]) / (other[0] - one[0])) * (other[1] - one[1]);
    }
    return null;
  };

  for (const area of document.querySelectorAll(".area")) {
    const lines = [...area.querySelectorAll("path.line")], dots = [...area.querySelectorAll("path.dot")];
    const bars = area.querySelector("rect");
    if (!lines.length && !dots.length && !bars) continue;
    const readX = axis(area, "x"), readY = axis(area, "y");
    let tip = null, hair = null;
    const leave = () => { tip?.remove(); hair?.remove(); tip = hair = null; };
    const say = (title, rows, x, width) => {
      if (!tip) { tip = document.createElement("div"); tip.className = "tip"; area.append(tip); }
      tip.replaceChildren();
      const head = document.createElement("b"); head.textContent = title; tip.append(head);
      for (const [text, mark] of rows) {
        const row = document.createElement("div");
        if (mark) { const key = document.createElement("span"); key.className = `key ${mark}`; row.append(key); }
        row.append(text); tip.append(row);
      }
      const right = x > width / 2;
      tip.style.left = right ? "auto" : `${x + 12}px`; tip.style.right = right ? `${width - x + 12}px` : "auto"; tip.style.top = "8px";
    };
    area.addEventListener("pointerleave", leave);
    area.addEventListener("pointermove", (event) => {
      const box = area.getBoundingClientRect(), x = event.clientX - box.left, part = Math.min(1, Math.max(0, x / box.width));
      if (lines.length) {
        const rows = [];
        for (const line of lines) {
          if (line.classList.contains("off")) continue;
          const y = heightAt(line, part * 1000);
          if (y !== null) rows.push([y, `${line.dataset.name}: ${readY(1 - y / 1000)}`, /\bc\d\b/.exec(line.getAttribute("class"))[0]]);
        }
        if (!rows.length) { leave(); return; }
        if (!hair) { hair = document.createElement("div"); hair.className = "hair"; area.append(hair); }
        hair.style.left = `${x}px`;
        rows.sort((one, other) => one[0] - other[0]);
        say(readX(part), rows.map((row) => row.slice(1)), x, box.width);
        return;
      }
      const text = event.target.querySelector?.(":scope > title")?.textContent;
      if (text && event.target.tagName === "rect") { say(text, [], x, box.width); return; }
      let best = null;
      for (const dot of dots) {
        if (dot.classList.contains("off")) continue;
        const [at, y] = pieces(dot)[0][0].map((_, i, all) => all[i]);
        const far = Math.hypot((at / 1000) * box.width - x, (y / 1000) * box.height - (event.clientY - box.top));
        if (far < 40 && (!best || far < best[0])) best = [far, dot, at / 1000, 1 - y / 1000];
      }
      if (best) say(best[1].dataset.name, [[readX(best[2])], [readY(best[3])]], x, box.width); else leave();
    });
  }
})();
