"use strict";
// Without this script every picture stands beside the others with its caption; it puts them on top of each other.
function element(name, properties, parent) {
  const made = Object.assign(document.createElement(name), properties);
  parent.append(made);
  return made;
}

function press(buttons, index) {
  buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
}

function makeViewer(viewer) {
  const stack = viewer.querySelector(".layers");
  const layers = [...stack.querySelectorAll(".layer")];
  if (layers.length < 2) return;
  const shown = { left: Number(viewer.dataset.left), right: Number(viewer.dataset.right) };
  const handle = element("div", { className: "handle" }, stack);
  const controls = element("div", { className: "controls" }, viewer);
  const range = element("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50 }, controls);
  range.setAttribute("aria-label", "where the left picture ends, in percent of the width");
  const flip = element("button", { type: "button", textContent: "Flip" }, controls);
  flip.title = "show the one picture and then the other, whole";
  const buttons = {};
  for (const side of ["left", "right"]) {
    const row = element("div", { className: "choice" }, controls);
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", side + " picture");
    element("span", { textContent: side }, row);
    buttons[side] = layers.map((layer, index) => {
      const text = layer.querySelector("figcaption").textContent;
      const button = element("button", { type: "button", textContent: text }, row);
      button.addEventListener("click", () => { shown[side] = index; update(); });
      return button;
    });
  }
  function update() {
    const value = Number(range.value);
    layers.forEach((layer, index) => {
      layer.classList.toggle("left", index === shown.left);
      layer.classList.toggle("right", index === shown.right && index !== shown.left);
      layer.style.clipPath = index === shown.right && index !== shown.left ? `inset(0 0 0 ${value}%)` : "";
      layer.querySelector("figcaption").hidden = index === shown.left ? value < 4 : value > 96;
    });
    handle.style.left = value + "%";
    handle.hidden = value <= 0 || value >= 100;
    press(buttons.left, shown.left);
    press(buttons.right, shown.right);
  }
  function follow(event) {
    const place = stack.getBoundingClientRect();
    range.value = 100 * (event.clientX - place.left) / place.width;
    update();
  }
  range.addEventListener("input", update);
  flip.addEventListener("click", () => { range.value = Number(range.value) > 50 ? 0 : 100; update(); });
  stack.addEventListener("pointerdown", (event) => { stack.setPointerCapture(event.pointerId); follow(event); });
  stack.addEventListener("pointermove", (event) => { if (stack.hasPointerCapture(event.pointerId)) follow(event); });
  const picture = layers[0].querySelector("img");
  viewer.style.setProperty("--ratio", picture.getAttribute("width") / picture.getAttribute("height"));
  viewer.classList.add("live");
  update();
}

function makeTabs(scenes) {
  const viewers = [...scenes.querySelectorAll(".viewer")];
  if (viewers.length < 2) return;
  const row = document.createElement("div");
  row.className = "tabs";
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", "frame");
  const show = (index) => {
    viewers.forEach((viewer, at) => { viewer.hidden = at !== index; });
    press(buttons, index);
  };
  const buttons = viewers.map((viewer, index) => {
    const button = element("button", { type: "button", textContent: viewer.dataset.name }, row);
    button.addEventListener("click", () => show(index));
    return button;
  });
  scenes.prepend(row);
  show(0);
}

document.querySelectorAll(".viewer").forEach(makeViewer);
document.querySelectorAll(".scenes").forEach(makeTabs);
