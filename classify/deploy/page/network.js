// The model file in onnxruntime-web: one thread, on this device.

import * as ort from "./runtime/ort.wasm.bundle.min.mjs";

ort.env.logLevel = "error";
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: new URL("./runtime/ort-wasm-simd-threaded.wasm", import.meta.url).href };

/** A function from a standardised RGB picture to {probabilities, features, maps}: Float32Array each, maps as {shape, data}. */
export async function openNetwork(bytes) {
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  return async ({ width, height, data }) => {
    const pixels = new Uint8Array(data.buffer, data.byteOffset, data.length);
    const found = await session.run({ image: new ort.Tensor("uint8", pixels, [1, height, width, 3]) });
    const told = found.probabilities ?? found.value;
    const maps = found.maps ? { shape: found.maps.dims.slice(1), data: found.maps.data } : null;
    return { probabilities: told.data, features: found.features.data, maps };
  };
}
