"use strict";

// ReDoc writes out every operation, which for sixty models is a quarter of a million pixels. So the
// groups of a large service have a page each, `?group=` and the name, and there is one of all names.
const MANY_GROUPS = 12;

function onOnePage(spec) {
  const name = wantedGroup(spec);
  const group = spec.tags.find((tag) => tag.name === name);
  if (group) {
    leadToAllGroups(group, spec);
    return { ...spec, tags: [group], paths: operationsOf(group.name, spec.paths) };
  }
  if (spec.tags.length <= MANY_GROUPS) {
    return spec;
  }
  document.getElementById("redoc").classList.add("list");
  return { ...spec, tags: spec.tags.map(asLink), paths: {} };
}

// That of the address, or that of the operation which it leads to.
function wantedGroup({ tags, paths }) {
  const group = new URLSearchParams(location.search).get("group");
  const id = /operation\/(.+)$/.exec(location.hash)?.[1];
  if (group || !id || tags.length <= MANY_GROUPS) {
    return group;
  }
  const operations = Object.values(paths).flatMap((methods) => Object.values(methods));
  const isLinked = ({ operationId }) => [operationId, encodeURIComponent(operationId)].includes(id);
  return operations.find(isLinked)?.tags[0];
}

function operationsOf(name, paths) {
  const those = (methods) => Object.entries(methods).filter(([, each]) => each.tags.includes(name));
  return Object.fromEntries(
    Object.entries(paths).map(([path, methods]) => [path, Object.fromEntries(those(methods))]),
  );
}

function asLink(tag) {
  const text = (tag["x-displayName"] ?? tag.name).replace(/[!-/:-@[-`{-~]/g, "\\$&");
  const link = `[Operations of ${text}](?${new URLSearchParams({ group: tag.name })})`;
  return { ...tag, description: [tag.description, link].filter(Boolean).join("\n\n") };
}

function leadToAllGroups(group, spec) {
  document.title = `${group["x-displayName"] ?? group.name} - ${spec.info.title}`;
  const link = document.createElement("a");
  link.href = "redoc";
  link.textContent = "All models";
  document.querySelector(".links").prepend(link);
}
