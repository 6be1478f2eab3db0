// One photograph from camera pixels to an answer, in the order of the command line's `predict`.

import { giveAnswer, NO_RETINA, RETAKE } from "./answer.js";
import { findFieldOfView, standardize, UNSURE } from "./field.js";
import { pictureKind } from "./kind.js";
import { measureQuality } from "./quality.js";

const HOPELESS = 0.25; // below this confidence the whole frame is looked at

/**
 * Everything that is known of an RGB picture: {answer, field, kind} and, where there is a field of view, {quality,
 * standard: {image, mask}, seen: {probabilities, features, maps}}.
 *
 * `model` is {facts, kinds, look}: model.json, the weights of `kind.js`, and the network. `step` is awaited before each
 * part of the work, so that a page can be painted.
 */
export async function examine(image, model, step = async () => {}) {
  const { rules, standard_size: size } = model.facts;
  await step("Looking for the eye");
  const field = findFieldOfView(image);
  const kind = pictureKind(image, field.confidence < HOPELESS ? null : field, model.kinds);
  if (!(kind.retina >= rules.retina)) return { field, kind, answer: retake(NO_RETINA) };
  if (field.confidence < UNSURE) {
    const seen = kind.reason || field.reason;
    return { field, kind, answer: retake(`No field of view was found (${seen}): take the photograph again.`) };
  }
  await step("Judging its quality");
  const standard = standardize(image, field, size);
  const quality = measureQuality(standard.image, standard.mask);
  await step("Reading it");
  const seen = await model.look(standard.image);
  const photograph = { quality: quality.score, qualityReason: quality.reason, retina: kind.retina };
  const answer = giveAnswer(rules, seen.probabilities, seen.features, photograph);
  return { field, kind, standard, quality, seen, answer };
}

function retake(reason) {
  return { action: RETAKE, label: "", set: [], reason, unfamiliarity: NaN };
}
