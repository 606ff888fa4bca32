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

const element = document.getElementById("redoc");
const fontFamily = "sans-serif";
Redoc.init(
  element.dataset.document,
  {
    expandResponses: "200",
    sanitize: true,
    hideSchemaTitles: true,
    theme: { typography: { fontFamily, headings: { fontFamily } } },
  },
  element,
);
