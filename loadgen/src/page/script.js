"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // A page opened from a file may have no storage.
  const keep = (value) => { try { if (value) localStorage.setItem("loadgen-theme", value); return localStorage.getItem("loadgen-theme"); } catch { return null; } };
  const kept = keep();
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  button.hidden = false;
  button.addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    keep(root.dataset.theme);
  });

  for (const frame of document.querySelectorAll(".frame")) {
    const lines = JSON.parse(frame.querySelector("script").textContent).filter((line) => line.points.length > 0);
    const area = frame.querySelector(".area");
    const cursor = frame.querySelector(".cursor");
    const tip = frame.querySelector(".tip");
    if (lines.length === 0) continue;
    const dots = lines.map((line) => {
      const dot = document.createElement("i");
      dot.className = "dot c" + line.colour;
      dot.hidden = true;
      area.append(dot);
      return dot;
    });
    // The point of a line that is nearest to a place.
    const nearest = (points, place) => {
      let low = 0, high = points.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (points[middle][0] < place) low = middle + 1; else high = middle;
      }
      return low > 0 && place - points[low - 1][0] < points[low][0] - place ? low - 1 : low;
    };
    const longest = lines.reduce((most, line) => (line.points.length > most.points.length ? line : most));
    let at = 0;
    const show = (place) => {
      at = nearest(longest.points, place);
      const [left, , words] = longest.points[at];
      cursor.hidden = tip.hidden = false;
      cursor.style.left = left * 100 + "%";
      const title = document.createElement("b");
      title.textContent = words;
      const rows = lines.map((line, number) => {
        const point = line.points[nearest(line.points, left)];
        const near = Math.abs(point[0] - left) < 0.02;
        dots[number].hidden = !near;
        dots[number].style.left = point[0] * 100 + "%";
        dots[number].style.top = (1 - point[1]) * 100 + "%";
        const row = document.createElement("div");
        const name = document.createElement("span");
        const key = document.createElement("i");
        key.className = "key c" + line.colour + (line.dashed ? " dashed" : "");
        name.append(key, line.name);
        const value = document.createElement("span");
        value.textContent = near ? point[3] : "–";
        row.append(name, value);
        return row;
      });
      tip.replaceChildren(title, ...rows);
      const width = area.clientWidth;
      const x = left * width;
      tip.style.left = Math.max(0, x > width / 2 ? x - tip.offsetWidth - 12 : x + 12) + "px";
    };
    const hide = () => { cursor.hidden = tip.hidden = true; dots.forEach((dot) => { dot.hidden = true; }); };
    area.addEventListener("pointermove", (event) => {
      const box = area.getBoundingClientRect();
      show((event.clientX - box.left) / box.width);
    });
    area.addEventListener("pointerleave", hide);
    frame.addEventListener("blur", hide);
    frame.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = tip.hidden ? at : Math.min(longest.points.length - 1, Math.max(0, at + step));
      show(longest.points[next][0]);
    });
  }
})();
