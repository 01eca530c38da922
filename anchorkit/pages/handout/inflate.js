// From base64 text to the bytes that were zipped, and long work in slices.

const OFTEN = 1 << 15;

// Generators pause often. This runs one to its end, some milliseconds at a time, and lets the page live in between.
export async function sliced(work, isWanted = () => true, milliseconds = 12) {
  let end = performance.now() + milliseconds;
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
    if (performance.now() >= end) {
      await new Promise((resolve) => setTimeout(resolve));
      if (!isWanted()) return undefined;
      end = performance.now() + milliseconds;
    }
  }
}

export async function inflate(text) {
  const stream = new Blob([await sliced(bytesOf(text))]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function* bytesOf(text) {
  const padding = text.endsWith("==") ? 2 : Number(text.endsWith("="));
  const found = new Uint8Array((text.length / 4) * 3 - padding);
  let at = 0;
  for (let i = 0; i < text.length; i += OFTEN) {
    const letters = atob(text.slice(i, i + OFTEN));
    for (let j = 0; j < letters.length; j++) found[at++] = letters.charCodeAt(j);
    yield;
  }
  return found;
}
