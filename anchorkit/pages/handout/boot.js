// Unzips the rest of the page's code and runs it; says in words if this browser cannot.
import { inflate } from "./inflate.js";

window.anchorkit = {
  anchors: JSON.parse(document.getElementById("anchors").textContent),
  ready: begin(),
};

async function begin() {
  if (!("DecompressionStream" in window))
    throw new Error("This browser is too old for this page. Safari 16.4, Chrome 80, Edge 80 and Firefox 113 or later can show it.");
  const code = new TextDecoder().decode(await inflate(document.getElementById("code").textContent));
  await new Function(`return (async () => {${code}\nawait begin();})()`)();
}

window.anchorkit.ready.catch((error) => {
  document.getElementById("loading").hidden = true;
  document.getElementById("lacking").hidden = false;
  document.getElementById("why").textContent = error.message;
});
