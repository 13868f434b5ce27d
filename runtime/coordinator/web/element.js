// Elements of the page. Whatever comes from the server becomes text of one, never markup.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Leaves alone what has not changed: a selection stays.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setState(node, state) {
  say(node, state);
  node.className = `state ${state}`;
}
