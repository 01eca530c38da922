// From base64 text to the bytes that were zipped, and long work in slices.

// Generators pause often. This runs one to its end, some milliseconds at a time, and lets the page live in between.
export async function sliced(work, isWanted = () => true, milliseconds = 12) {
  let end = performance.now() + milliseconds;
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
    if (performance.now() >= end) {
      await breath();
      if (!isWanted()) return undefined;
      end = performance.now() + milliseconds;
    }
  }
}

// Lets the browser draw and answer before the work goes on.
export const breath = () => new Promise((resolve) => setTimeout(resolve));

// The same once what is there has been drawn; a page that is out of sight is not drawn, and does not wait for it.
export const painted = () => new Promise((resolve) => {
  requestAnimationFrame(() => setTimeout(resolve));
  setTimeout(resolve, 100);
});

const AT_ONCE = 1 << 18; // letters of base64, a multiple of 4

export async function inflate(text) {
  const stream = new DecompressionStream("gzip");
  const bytes = new Response(stream.readable).arrayBuffer();
  const writer = stream.writable.getWriter();
  for (let at = 0; at < text.length; at += AT_ONCE) {
    const letters = atob(text.slice(at, at + AT_ONCE));
    const part = new Uint8Array(letters.length);
    for (let i = 0; i < part.length; i++) part[i] = letters.charCodeAt(i);
    await writer.write(part);
    await breath();
  }
  await writer.close();
  return new Uint8Array(await bytes);
}
