// The page: what is chosen, what is shown. Text from outside (file names, classes, reasons) is only ever set as text.

import { decode, PictureError } from "./decode.js";
import { examine } from "./examine.js";
import { activationMap, occlusionMap } from "./heat.js";
import { openNetwork } from "./network.js";
import { halve } from "./resize.js";
import { readTensors } from "./safetensors.js";

const HEAT = [0, 229, 255];
const STRONGEST = 0.65;
const LARGEST_SHOWN = 1024;
const ACTIONS = { answer: "\u2713 Answer", refer: "\u2192 Refer to an expert", retake: "\u21bb Take it again" };

const element = (id) => document.getElementById(id);
const inputs = [element("take"), element("choose")];
let model = null;
let shown = null; // what `examine` found in the photograph on the screen, with its heat maps by class
let turn = 0; // counts the photographs, so that work for an earlier one is not shown
let view = 0; // counts what is to be seen of them, so that a heat map that is no longer asked for is not shown

start();

async function start() {
  try {
    model = await loadModel();
    describeModel();
    say("Ready.");
    for (const input of inputs) {
      input.disabled = false;
      input.addEventListener("change", () => read(input));
    }
    element("heat").addEventListener("change", drawView);
  } catch (error) {
    problem(`The model could not be loaded: ${error.message}`);
  }
  keepForOffline();
}

async function loadModel() {
  const facts = await (await load("model.json")).json();
  const [bytes, kinds] = await Promise.all(
    ["model.onnx", "picture_kind.safetensors"].map(async (name) => (await load(name)).arrayBuffer()),
  );
  // Only a page from https or from this very device may compute this.
  if (crypto.subtle && (await sha256(bytes)) !== facts.sha256) throw new Error("model.onnx is not the one of model.json");
  return { facts: facts.model, kinds: readTensors(kinds), look: await openNetwork(new Uint8Array(bytes)) };
}

async function load(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} is missing (${answer.status})`);
  return answer;
}

async function sha256(buffer) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", buffer));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function read(input) {
  const [file] = input.files;
  if (!file) return;
  const mine = ++turn;
  setBusy(true);
  try {
    await step("Opening the picture");
    const began = performance.now();
    const image = await decode(file);
    const found = await examine(image, model, step);
    const seconds = (performance.now() - began) / 1000;
    const { width, height } = image;
    const picture = found.standard?.image ?? smallCopy(image);
    if (mine === turn) show({ ...found, picture, width, height, name: file.name, seconds, maps: new Map() });
    say("Done.");
  } catch (error) {
    element("result").hidden = true;
    problem(error instanceof PictureError ? error.message : `The picture could not be read: ${error.message}`);
  } finally {
    input.value = ""; // so that the same file can be chosen again
    setBusy(false);
  }
}

/** What a canvas of any phone can hold. */
function smallCopy(image) {
  while (Math.max(image.width, image.height) > LARGEST_SHOWN) image = halve(image);
  return image;
}

function setBusy(busy) {
  for (const input of inputs) input.disabled = busy;
  document.body.ariaBusy = String(busy);
}

/** Says what is being done, and lets the page be painted. */
async function step(text) {
  say(`${text} \u2026`);
  await new Promise((resolve) => setTimeout(resolve, 20));
}

function say(text) {
  element("status").textContent = text;
  element("status").classList.remove("problem");
}

function problem(text) {
  say(text);
  element("status").classList.add("problem");
}

function show(found) {
  shown = found;
  const { answer, standard } = found;
  const result = element("result");
  result.className = answer.action;
  element("action").textContent = ACTIONS[answer.action];
  element("label").textContent = answer.action === "answer" ? (answer.label || "no finding") + unit() : "";
  element("reason").textContent = answer.reason;
  element("file").textContent = found.name;
  element("seen").hidden = !standard;
  element("heat").checked = false;
  if (standard) listClasses();
  listFacts(element("facts"), factsOf(found));
  result.hidden = false;
  drawView();
  // For programs that drive the page.
  result.dataset.found = JSON.stringify({ ...answer, probabilities: Array.from(found.seen?.probabilities ?? []) });
  result.scrollIntoView({ block: "start" });
}

function factsOf({ answer, quality, kind, width, height, seconds }) {
  const facts = { Picture: `${width} x ${height} pixels` };
  if (quality) facts.Quality = `${quality.score.toFixed(2)} of 1${quality.reason ? `, ${quality.reason}` : ""}`;
  if (kind.reason) facts.Kind = kind.reason;
  if (answer.set.length) facts["Possible answers"] = answer.set.join(unit() ? " to " : ", ") + unit();
  if (Number.isFinite(answer.unfamiliarity)) facts.Unfamiliarity = `${answer.unfamiliarity.toFixed(2)} (refers above 1)`;
  facts.Time = `${seconds.toFixed(1)} s`;
  return facts;
}

function unit() {
  return model.facts.target === "hemoglobin" ? " g/dL" : "";
}

function listFacts(list, facts) {
  list.replaceChildren(
    ...Object.entries(facts).flatMap(([name, value]) => [withText("dt", name), withText("dd", value)]),
  );
}

function withText(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

/** One line a class, the likeliest first; the chosen one is the one whose heat map is drawn. */
function listClasses() {
  const { probabilities } = shown.seen;
  const { classes } = model.facts.rules;
  const isNumber = model.facts.rules.half_width !== null;
  element("classes").hidden = isNumber;
  element("seen-title").hidden = isNumber;
  // Of several labels there may be none, and the likeliest is shown.
  shown.chosen = isNumber ? 0 : classes.indexOf(shown.answer.label);
  if (shown.chosen < 0) shown.chosen = probabilities.indexOf(Math.max(...probabilities));
  if (isNumber) return;
  const order = classes.map((_, k) => k).sort((a, b) => probabilities[b] - probabilities[a]);
  element("classes").replaceChildren(...order.map((k) => classLine(k, classes[k], probabilities[k])));
}

function classLine(k, name, share) {
  const line = document.createElement("label");
  line.className = shown.answer.set.includes(name) ? "class possible" : "class";
  const radio = document.createElement("input");
  Object.assign(radio, { type: "radio", name: "class", checked: k === shown.chosen });
  radio.addEventListener("change", () => {
    shown.chosen = k;
    drawView();
  });
  const meter = document.createElement("meter");
  meter.value = share;
  line.append(radio, withText("span", name, "name"), withText("span", `${(100 * share).toFixed(1)} %`, "share"), meter);
  return line;
}

async function drawView() {
  const [photograph, mine] = [turn, ++view];
  const asked = () => photograph === turn && mine === view;
  const wanted = element("heat").checked && Boolean(shown.standard);
  draw(null);
  element("heat-note").textContent = "";
  if (document.body.ariaBusy !== "true") say("Done."); // of a map that is no longer being made
  if (!wanted) return;
  const heat = await heatOf(shown.chosen, asked);
  if (!heat || !asked()) return;
  draw(heat);
  element("heat-note").textContent = shown.seen.maps
    ? "Brighter: what speaks for this answer (class activation map)."
    : "Brighter: hiding this place makes the answer less likely (occlusion).";
}

/** The heat map of class `k`; null when it is no longer asked for before it is done. */
async function heatOf(k, asked) {
  const { maps, standard, seen } = shown;
  if (maps.has(k)) return maps.get(k);
  const progress = async (share) => {
    if (asked()) await step(`Hiding parts of it, ${Math.round(100 * share)} %`);
    return asked();
  };
  const heat = seen.maps
    ? activationMap(seen.maps, k, standard.image.width)
    : await occlusionMap(standard.image, model.look, k, progress);
  if (heat) maps.set(k, heat);
  if (asked()) say("Done.");
  return heat;
}

/** The standardised photograph (or, without a field of view, the camera's) with a heat map over it. */
function draw(heat) {
  const { width, height, data } = shown.picture;
  const canvas = element("canvas");
  [canvas.width, canvas.height] = [width, height];
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const share = heat && shown.standard.mask[i] ? STRONGEST * heat[i] : 0;
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = (1 - share) * data[3 * i + c] + share * HEAT[c];
    pixels.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function describeModel() {
  const { classes, backbone, precision, licence, trained_on: trained, version } = model.facts;
  const patients = trained?.patients ? Object.entries(trained.patients).map(([split, n]) => `${split} ${n}`).join(", ") : "";
  const facts = {
    Classes: classes.join(", "),
    Network: `${backbone}, ${precision}`,
    "Trained on": [trained?.dataset, patients && `patients: ${patients}`].filter(Boolean).join("; "),
    Licence: licence,
    "Made by": `fundus-synth ${version}`,
    Note: model.facts.rules.notes.join(" "),
  };
  listFacts(element("about"), Object.fromEntries(Object.entries(facts).filter(([, value]) => value)));
}

async function keepForOffline() {
  if (!("serviceWorker" in navigator)) return;
  try {
    await navigator.serviceWorker.register("service-worker.js");
    await navigator.serviceWorker.ready;
    element("offline").textContent = "It also works without a network.";
  } catch {
    element("offline").textContent = "It needs the network each time here.";
  }
}
