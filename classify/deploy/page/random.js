// numpy's default generator from seed 0: PCG64 (O'Neill 2014, XSL-RR 128/64), its bounded integers (Lemire 2019) and its
// shuffle, which draws under a mask until the number is in range.
// The same triples of points are drawn here as in Python, so that both find the same circle.

const MASK_64 = (1n << 64n) - 1n;
const MASK_128 = (1n << 128n) - 1n;
const MULTIPLIER = 47026247687942121848144207491837523525n;
const STATE = 35399562948360463058890781895381311971n;
const INCREMENT = 87136372517582989555478159403783844777n;
const TWO_32 = 2 ** 32;

export class SeedZero {
  #state = STATE;
  #upper = null;

  /** Whole numbers 0..below-1, as Generator.integers(0, below, count). */
  integers(below, count) {
    return Array.from({ length: count }, () => this.#bounded(below));
  }

  /** A random order of 0..length-1, as Generator.permutation(length). */
  permutation(length) {
    const order = Array.from({ length }, (_, i) => i);
    for (let i = length - 1; i > 0; i--) {
      const j = this.#masked(i);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  #bounded(below) {
    const range = BigInt(below);
    const least = BigInt(TWO_32 % below);
    for (;;) {
      const product = BigInt(this.#next32()) * range;
      if ((product & 0xffffffffn) >= least) return Number(product >> 32n);
    }
  }

  #masked(largest) {
    const mask = 2 ** (32 - Math.clz32(largest)) - 1;
    for (;;) {
      const value = this.#next32() & mask;
      if (value <= largest) return value;
    }
  }

  #next32() {
    if (this.#upper !== null) {
      const upper = this.#upper;
      this.#upper = null;
      return upper;
    }
    const both = this.#next64();
    this.#upper = Number(both >> 32n);
    return Number(both & 0xffffffffn);
  }

  #next64() {
    this.#state = (this.#state * MULTIPLIER + INCREMENT) & MASK_128;
    const mixed = ((this.#state >> 64n) ^ this.#state) & MASK_64;
    const turn = this.#state >> 122n;
    return ((mixed >> turn) | (mixed << (64n - turn))) & MASK_64;
  }
}
