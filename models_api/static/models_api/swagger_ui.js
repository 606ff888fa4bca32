"use strict";

const element = document.getElementById("swagger-ui");
const MANY_TAGS = 12;

// Swagger UI's own dark colours, where the system asks for them.
const dark = matchMedia("(prefers-color-scheme: dark)");
const setColours = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", setColours);
setColours();

function cookie(name) {
  const pair = document.cookie.split("; ").find((text) => text.startsWith(`${name}=`));
  return pair && decodeURIComponent(pair.slice(name.length + 1));
}

// Headings are the models' display names, and what the filter looks for may stand in these, in the
// names of the URLs and in the descriptions.
function Headings({ specSelectors }) {
  const tagNamed = (name) => specSelectors.tags().find((tag) => tag.get("name") === name);
  const heading = (name) => tagNamed(name)?.get("x-displayName") ?? name;
  return {
    wrapComponents: {
      DeepLink: (Original, { React }) => (props) =>
        React.createElement(Original, { ...props, text: heading(props.text) }),
    },
    fn: {
      opsFilter(operations, wanted) {
        const words = wanted.toLowerCase().split(/\s+/);
        return operations.filter((_, name) => {
          const text = `${name} ${heading(name)} ${tagNamed(name)?.get("description") ?? ""}`;
          return words.every((word) => text.toLowerCase().includes(word));
        });
      },
    },
  };
}

// Sixty models would make a page of 19 000 pixels if all their operations were listed at first.
function FoldedTags({ specSelectors }) {
  return {
    statePlugins: {
      layout: {
        wrapSelectors: {
          isShown: (original) => (_, thing, isShownAtFirst) =>
            original(
              thing,
              isShownAtFirst && (thing[0] !== "operations-tag" || specSelectors.tags().size <= MANY_TAGS),
            ),
        },
      },
    },
  };
}

// Every operation has the same errors: a line of each is enough until somebody wants to see more.
function FoldedErrors() {
  return {
    wrapComponents: {
      response: (Original, { React }) =>
        function Response(props) {
          const { code, response } = props;
          const make = React.createElement;
          const [isShown, setShown] = React.useState(false);
          if (!/^[45]/.test(code)) {
            return make(Original, props);
          }
          const word = isShown ? "Hide" : "Show";
          const toggle = {
            className: "show-response",
            onClick: () => setShown(!isShown),
            "aria-expanded": isShown,
            "aria-label": `${word} the body of ${code}`,
          };
          const line = make(
            "tr",
            { className: "response", "data-code": code },
            make("td", { className: "response-col_status" }, code),
            make(
              "td",
              { className: "response-col_description" },
              response.get("description"),
              make("button", toggle, word),
            ),
          );
          const body = { ...props, className: "shown-response", response: response.delete("description") };
          return make(React.Fragment, null, line, isShown && make(Original, body));
        },
    },
  };
}

SwaggerUIBundle({
  domNode: element,
  url: element.dataset.document,
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null,
  filter: true,
  syntaxHighlight: { theme: "tomorrow-night" },
  defaultModelsExpandDepth: 0,
  plugins: [Headings, FoldedTags, FoldedErrors],
  onComplete() {
    const filter = element.querySelector(".operation-filter-input");
    filter?.setAttribute("placeholder", "Find a model");
    filter?.setAttribute("aria-label", "Find a model");
  },
  requestInterceptor(request) {
    // Projects that authenticate by session ask for Django's CSRF token.
    const token = cookie(element.dataset.csrfCookie);
    if (token && new URL(request.url, document.baseURI).origin === location.origin) {
      request.headers[element.dataset.csrfHeader] = token;
    }
    return request;
  },
});
