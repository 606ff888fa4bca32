"use strict";

// ReDoc shows a logo from its maker's server; this page loads nothing from anywhere else.
const setAttribute = HTMLImageElement.prototype.setAttribute;
HTMLImageElement.prototype.setAttribute = function (name, value) {
  const elsewhere = name === "src" && new URL(value, document.baseURI).protocol === "https:"
    && new URL(value, document.baseURI).origin !== location.origin;
  setAttribute.call(this, name, elsewhere ? "data:image/gif;base64,R0lGODlhAQABAAAAACw=" : value);
};

const element = document.getElementById("redoc");
Redoc.init(
  element.dataset.document,
  { hideDownloadButton: false, theme: { typography: { fontFamily: "sans-serif", headings: { fontFamily: "sans-serif" } } } },
  element,
);
