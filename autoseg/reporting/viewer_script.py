"""The script of the slice viewer: plain JavaScript that asks no network for anything, and works from a file."""

VIEWER_STYLE = """
.viewer { display: none; background: #101317; color: #c9d1db; border-radius: .5rem; padding: .6rem; }
.live .viewer { display: block; } .live .still { display: none; }
.planes { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); align-items: end; }
.plane canvas { display: block; max-width: 100%; max-height: 26rem; margin: 0 auto; cursor: crosshair; }
.plane label { display: flex; align-items: center; gap: .5rem; font-size: .85rem; margin-top: .3rem; }
.plane input { flex: 1; min-width: 4rem; accent-color: #6db3f2; height: 1.6rem; }
.plane output { min-width: 4.5em; text-align: right; font-variant-numeric: tabular-nums; }
.switches { display: flex; flex-wrap: wrap; gap: .25rem 1.2rem; font-size: .85rem; margin-top: .5rem; }
@media print { .live .viewer { display: none; } .live .still { display: block; } }
"""

VIEWER_SCRIPT = """
const pixelsOf = (image) => {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
};
const made = (name, parent, properties = {}) => {
  const element = Object.assign(document.createElement(name), properties);
  parent.append(element);
  return element;
};
const openViewer = (root, image, labels) => {
  const words = (name) => root.dataset[name].split(",");
  const shape = words("shape").map(Number), spacing = words("spacing").map(Number);
  const at = words("start").map(Number), flips = words("flips").map(Number);
  const titles = words("titles"), edges = words("edges"), colours = words("colours");
  const columns = Number(root.dataset.columns);
  const [depth, height, width] = shape;
  const offset = (z, y, x) =>
    4 * ((Math.floor(z / columns) * height + y) * columns * width + (z % columns) * width + x);
  const seen = {reference: true, prediction: true};
  const parse = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  const rgb = colours.map(parse);
  const area = made("div", root, {className: "planes"});
  const planes = [0, 1, 2].map((axis) => {
    const [row, column] = [0, 1, 2].filter((a) => a !== axis);
    const box = made("div", area, {className: "plane"});
    const canvas = made("canvas", box);
    const mm = [shape[row] * spacing[row], shape[column] * spacing[column]];
    const scale = 480 / Math.max(...mm);
    canvas.height = Math.max(1, Math.round(mm[0] * scale)); canvas.width = Math.max(1, Math.round(mm[1] * scale));
    canvas.setAttribute("role", "img");
    const line = made("label", box, {textContent: titles[axis]});
    const slider = made("input", line, {type: "range", min: 0, max: shape[axis] - 1, step: 1, value: at[axis]});
    slider.setAttribute("aria-label", `slice, ${titles[axis]}`);
    const told = made("output", line);
    return {axis, row, column, canvas, slider, told};
  });
  const draw = ({axis, row, column, canvas, slider, told}) => {
    const h = shape[row], w = shape[column], place = [0, 0, 0];
    place[axis] = at[axis];
    const find = (r, c) => {
      place[row] = flips[axis] ? h - 1 - r : r; place[column] = c;
      return offset(...place);
    };
    const small = new OffscreenCanvas(w, h), context = small.getContext("2d");
    const gray = context.createImageData(w, h), fill = context.createImageData(w, h);
    const predicted = new Uint8Array(w * h);
    for (let r = 0, i = 0; r < h; r++) for (let c = 0; c < w; c++, i++) {
      const from = find(r, c);
      for (let k = 0; k < 3; k++) gray.data[4 * i + k] = image[from + k];
      gray.data[4 * i + 3] = 255;
      predicted[i] = labels[from + 1];
      const reference = labels[from];
      if (reference && seen.reference) {
        for (let k = 0; k < 3; k++) fill.data[4 * i + k] = rgb[reference - 1][k];
        fill.data[4 * i + 3] = 90;
      }
    }
    const pen = canvas.getContext("2d"), sx = canvas.width / w, sy = canvas.height / h;
    context.putImageData(gray, 0, 0);
    pen.imageSmoothingEnabled = true;
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
    context.putImageData(fill, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
    if (seen.prediction) outline(pen, predicted, w, h, sx, sy);
    pen.fillStyle = "#ffd75e"; pen.strokeStyle = "#101317"; pen.lineWidth = 4;
    pen.font = "15px sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle";
    const corners = [[12, canvas.height / 2], [canvas.width - 12, canvas.height / 2], [canvas.width / 2, 12],
      [canvas.width / 2, canvas.height - 12]];
    [...edges[axis]].forEach((letter, i) => {
      pen.strokeText(letter, ...corners[i]);
      pen.fillText(letter, ...corners[i]);
    });
    slider.value = at[axis];
    told.textContent = `${at[axis] + 1} / ${shape[axis]}`;
    canvas.setAttribute("aria-label", `${titles[axis]}, slice ${at[axis] + 1} of ${shape[axis]}`);
  };
  const outline = (pen, map, w, h, sx, sy) => {
    const paths = new Map();
    const value = (r, c) => (r < 0 || c < 0 || r >= h || c >= w ? 0 : map[r * w + c]);
    for (let r = 0; r < h; r++) for (let c = 0; c < w; c++) {
      const own = map[r * w + c];
      if (!own) continue;
      if (!paths.has(own)) paths.set(own, new Path2D());
      const path = paths.get(own), x = c * sx, y = r * sy;
      const side = (other, a, b, p, q) => { if (other !== own) { path.moveTo(a, b); path.lineTo(p, q); } };
      side(value(r - 1, c), x, y, x + sx, y);
      side(value(r + 1, c), x, y + sy, x + sx, y + sy);
      side(value(r, c - 1), x, y, x, y + sy);
      side(value(r, c + 1), x + sx, y, x + sx, y + sy);
    }
    pen.lineWidth = 2;
    for (const [own, path] of paths) { pen.strokeStyle = colours[own - 1]; pen.stroke(path); }
  };
  for (const plane of planes) {
    plane.slider.addEventListener("input", () => { at[plane.axis] = Number(plane.slider.value); draw(plane); });
    plane.canvas.addEventListener("click", (event) => {
      const box = plane.canvas.getBoundingClientRect();
      const index = (part, size) => Math.min(size - 1, Math.max(0, Math.floor(part * size)));
      const r = index((event.clientY - box.top) / box.height, shape[plane.row]);
      at[plane.row] = flips[plane.axis] ? shape[plane.row] - 1 - r : r;
      at[plane.column] = index((event.clientX - box.left) / box.width, shape[plane.column]);
      planes.forEach(draw);
    });
  }
  const switches = made("div", root, {className: "switches"});
  for (const name of Object.keys(seen)) {
    const line = made("label", switches);
    const box = made("input", line, {type: "checkbox", checked: true});
    line.append(` ${name}`);
    box.addEventListener("change", () => { seen[name] = box.checked; planes.forEach(draw); });
  }
  made("span", switches, {textContent: "A click in one plane moves the others there."});
  planes.forEach(draw);
  root.closest("figure").classList.add("live");
};
for (const root of document.querySelectorAll(".viewer")) {
  const sheets = [...root.querySelectorAll("img")];
  Promise.all(sheets.map((sheet) => sheet.decode())).then(() => {
    openViewer(root, ...sheets.map(pixelsOf));
    sheets.forEach((sheet) => sheet.remove());
  });
}
"""
