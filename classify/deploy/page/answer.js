// What to do with a photograph, and why: the twin of classify/deploy/answer.py (and of conformal.py and familiarity.py).

export const [ANSWER, REFER, RETAKE] = ["answer", "refer", "retake"];
const ROUNDING_OF_SHARES = 1e-9;

/**
 * {action, label, set, reason, unfamiliarity} from the rules of the model file (JSON), calibrated probabilities (or one
 * number), features, and what is known of the photograph: {quality, qualityReason, retina}.
 */
export function giveAnswer(rules, probabilities, features, photograph) {
  const values = Array.from(probabilities);
  const unfamiliarity = rules.familiarity ? distance(rules.familiarity, features) / rules.familiarity.limit : NaN;
  const { label, set, doubt } = judged(rules, values);
  const because = (action, reason) => ({ action, label, set, reason, unfamiliarity });
  if (!(photograph.retina >= rules.retina)) return because(RETAKE, NO_RETINA);
  if (!(photograph.quality >= rules.quality)) {
    return because(RETAKE, `${fault(photograph.qualityReason)}: take it again, and refer to an expert if it stays so.`);
  }
  if (rules.familiarity && !(unfamiliarity <= 1)) {
    return because(REFER, "The photograph is unlike those that the model learned from: refer to an expert.");
  }
  if (doubt) return because(REFER, `${doubt}: refer to an expert.`);
  return because(ANSWER, told(rules, label, set));
}

export const NO_RETINA = "The picture does not seem to show a retina: take the photograph again.";

/** {label, set, doubt}: what is decided, what is possible, and what speaks against answering ("" for nothing). */
function judged(rules, values) {
  if (rules.sets) return oneClass(rules, values);
  if (rules.present) return severalLabels(rules, values);
  return oneNumber(rules, values[0]);
}

function oneNumber(rules, value) {
  const [low, high] = [value - rules.half_width, value + rules.half_width];
  const within = (rules.limits ?? []).filter((limit) => low < limit && limit <= high).map(oneDecimal);
  const doubt = within.length ? `It cannot be told on which side of ${within.join(" and ")} the value lies` : "";
  return {
    label: oneDecimal(value),
    set: [oneDecimal(low), oneDecimal(high)],
    doubt: Number.isFinite(value) ? doubt : "How far the number is off is not known",
  };
}

function oneClass(rules, values) {
  const label = rules.classes[decided(rules, values)];
  const set = rules.classes.filter((_, k) => values[k] >= rules.sets.least[k]);
  if (set.length === 0) return { label, set, doubt: "No answer is likely enough" };
  if (set.length > 1) return { label, set, doubt: `More than one answer is possible (${set.join(", ")})` };
  const differ = `The likeliest answer (${label}) is not the only possible one (${set[0]})`;
  return { label, set, doubt: set[0] === label ? "" : differ };
}

function decided(rules, values) {
  if (rules.cuts) {
    const pairs = values.slice(0, -1).map((value, k) => value * values[k + 1]);
    const low = pairs.indexOf(Math.max(...pairs));
    if (!(pairs[low] > 0)) return Math.max(values.indexOf(Math.max(...values)), 0);
    const value = low + 0.5 + rules.temperature * (Math.log(values[low + 1]) - Math.log(values[low]));
    return rules.cuts.filter((cut) => value >= cut).length;
  }
  const weighed = rules.multipliers ? values.map((value, k) => value * rules.multipliers[k]) : values;
  return Math.max(weighed.indexOf(Math.max(...weighed)), 0);
}

function severalLabels(rules, values) {
  const { classes, present, absent, thresholds } = rules;
  const there = values.map((value, k) => value >= present.least[k]);
  const notThere = values.map((value, k) => 1 - value >= absent.least[k]);
  const chosen = values.map((value, k) => value >= thresholds[k]);
  const unsure = classes.filter((_, k) => there[k] === notThere[k] || there[k] !== chosen[k]);
  return {
    label: classes.filter((_, k) => chosen[k]).join("; "),
    set: classes.filter((_, k) => there[k]),
    doubt: unsure.length ? `It cannot be told whether there is ${unsure.join(", ")}` : "",
  };
}

function told(rules, label, set) {
  const share = `${Math.floor(100 * rules.attained + ROUNDING_OF_SHARES)} %`;
  if (rules.sets) {
    return `The only possible answer is ${label}, by a rule that keeps the right one for at least ${share} of patients.`;
  }
  if (rules.present) {
    return `Every finding is told for sure (${label || "none of them"}), each for at least ${share} of patients.`;
  }
  return `The value is ${label}, and for at least ${share} of patients the true one lies in ${set.join(" to ")}.`;
}

function fault(reason) {
  if (!reason) return "The photograph is not clear enough";
  return reason.includes(" is ") ? reason[0].toUpperCase() + reason.slice(1) : `The photograph is ${reason}`;
}

/** Python's format ".1f": of two numbers that are as near the even one. */
export function oneDecimal(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const halfway = Math.abs((4 * value) % 2) === 1;
  if (!halfway) return value.toFixed(1);
  const low = Math.floor(10 * value);
  return ((low % 2 === 0 ? low : low + 1) / 10).toFixed(1);
}

/** Mahalanobis distance of the features to the nearest class mean. */
function distance(familiarity, features) {
  const [means, directions, variances] = [familiarity.means, familiarity.directions, familiarity.variances].map(unpacked);
  const width = features.length;
  let nearest = Infinity;
  for (let k = 0; k < means.length; k += width) {
    const apart = Float64Array.from(features, (value, i) => value - means[k + i]);
    let square = apart.reduce((sum, value) => sum + value * value, 0) / familiarity.rest;
    variances.forEach((variance, j) => {
      const along = apart.reduce((sum, value, i) => sum + value * directions[j * width + i], 0);
      square += along * along * (1 / variance - 1 / familiarity.rest);
    });
    // A comparison would pass over what is not a number.
    nearest = Number.isNaN(square) ? NaN : Math.min(nearest, Math.sqrt(Math.max(square, 0)));
  }
  return nearest;
}

function unpacked({ float32 }) {
  const bytes = Uint8Array.from(atob(float32), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
