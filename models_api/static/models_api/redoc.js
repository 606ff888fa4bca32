"use strict";

// ReDoc shows a logo from its maker's server, and takes it away again if it cannot be loaded. This
// page loads nothing from anywhere else, so the logo gets an address that never leads to an image.
// React writes the address twice: as an attribute and as a property.
const setAttribute = HTMLImageElement.prototype.setAttribute;
const isElsewhere = (url) => /^https?:/.test(url) && new URL(url).origin !== location.origin;

HTMLImageElement.prototype.setAttribute = function (name, value) {
  setAttribute.call(this, name, name === "src" && isElsewhere(value) ? "data:," : value);
};
Object.defineProperty(HTMLImageElement.prototype, "src", {
  ...Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "src"),
  set(value) {
    this.setAttribute("src", value);
  },
});

// Its colours are fixed when it begins, so it begins anew when the system changes them.
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => location.reload());
const darkColours = {
  colors: {
    primary: { main: "#63b3ed" },
    success: { main: "#68d391" },
    error: { main: "#fc8181" },
    text: { primary: "#e4e6e6", secondary: "#a9b0b3" },
    gray: { 50: "#22282b", 100: "#2b3235" },
    border: { dark: "#475055", light: "#343b3f" },
    responses: {
      success: { color: "#68d391", backgroundColor: "#1d2f26" },
      error: { color: "#fc8181", backgroundColor: "#33211f" },
    },
  },
  schema: { nestedBackground: "#22282b", linesColor: "#475055", typeNameColor: "#a9b0b3" },
  sidebar: { backgroundColor: "#16191b", textColor: "#e4e6e6" },
  rightPanel: { backgroundColor: "#16191b" },
  fab: { backgroundColor: "#2b3235", color: "#63b3ed" },
};

const element = document.getElementById("redoc");
const fontFamily = "sans-serif";
const options = {
  expandResponses: "200",
  sanitize: true,
  hideSchemaTitles: true,
  downloadUrls: [{ title: "Download", url: element.dataset.document }],
  theme: {
    typography: { fontFamily, headings: { fontFamily } },
    ...(dark.matches ? darkColours : {}),
  },
};

async function show() {
  const response = await fetch(element.dataset.document);
  const spec = response.ok ? onOnePage(await response.json()) : element.dataset.document;
  Redoc.init(spec, options, element);
}

show();
