"use strict";
const pictures = [...document.querySelectorAll(".picture")];
const galleries = [...document.querySelectorAll(".gallery")];
const dialog = document.getElementById("enlarged");
const views = picture => picture.querySelectorAll("img").length;
const shown = picture => Number(picture.dataset.shown);
let current = null;

function show(picture, view) {
  picture.dataset.shown = view;
  if (view) picture.dataset.last = view;
  picture.querySelector(".flip").setAttribute("aria-pressed", String(view > 0));
  if (picture === current) enlarge(picture);
}

function showAll(gallery, view) {
  gallery.querySelectorAll(".picture").forEach(picture => show(picture, view));
  gallery.querySelectorAll("[data-view]").forEach(button =>
    button.setAttribute("aria-pressed", String(Number(button.dataset.view) === view)));
}

function flip(picture) { show(picture, shown(picture) ? 0 : Number(picture.dataset.last)); }

function flipAll() {
  const plain = galleries.some(gallery => gallery.querySelector('.picture:not([data-shown="0"])'));
  galleries.forEach(gallery => showAll(gallery, plain ? 0 : Number(gallery.querySelector(".picture").dataset.last)));
}

function viewAll(view) {
  galleries.filter(gallery => view < views(gallery.querySelector(".picture"))).forEach(gallery => showAll(gallery, view));
}

function enlarge(picture) {
  current = picture;
  const image = picture.querySelectorAll("img")[shown(picture)];
  const large = dialog.querySelector("img");
  large.src = image.src;
  large.alt = image.alt;
  dialog.querySelector("p").textContent = image.alt;
  if (!dialog.open) dialog.showModal();
}

function step(by) { enlarge(pictures[(pictures.indexOf(current) + by + pictures.length) % pictures.length]); }

pictures.forEach(picture => {
  picture.dataset.last = shown(picture) || 1;
  picture.querySelector(".open").addEventListener("click", () => enlarge(picture));
  picture.querySelector(".flip").addEventListener("click", () => flip(picture));
});
galleries.forEach(gallery => gallery.querySelectorAll("[data-view]").forEach(button =>
  button.addEventListener("click", () => showAll(gallery, Number(button.dataset.view)))));
dialog.addEventListener("close", () => {
  const closed = current;
  current = null;
  closed.querySelector(".open").focus();
});
dialog.querySelector("img").addEventListener("click", () => flip(current));
dialog.querySelector(".before").addEventListener("click", () => step(-1));
dialog.querySelector(".after").addEventListener("click", () => step(1));
dialog.querySelector(".toggle").addEventListener("click", () => flip(current));
dialog.querySelector(".close").addEventListener("click", () => dialog.close());

let start = null;
dialog.addEventListener("touchstart", event => { start = event.touches.length === 1 ? event.touches[0].clientX : null; });
dialog.addEventListener("touchend", event => {
  const way = start === null ? 0 : event.changedTouches[0].clientX - start;
  if (Math.abs(way) > 60) step(way < 0 ? 1 : -1);
});

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "o") current ? flip(current) : flipAll();
  else if (current && event.key === "ArrowRight") step(1);
  else if (current && event.key === "ArrowLeft") step(-1);
  else if (/^[1-9]$/.test(event.key)) {
    const view = Number(event.key) - 1;
    if (!current) viewAll(view);
    else if (view < views(current)) show(current, view);
  }
});
