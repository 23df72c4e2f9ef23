// Small helpers over the DOM. Text goes in as text nodes only, so a channel's name can never become markup.

const SVG = 'http://www.w3.org/2000/svg';

/** The element of this id, which page.html has. */
export const byId = (id) => document.getElementById(id);

/** An element with properties (`class` and `aria-*`, `data-*` as attributes) and children: nodes, strings, or null for nothing. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || name === 'class' || name === 'role') element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Writes only what changed: most of what is polled stays the same, and a selection of text must survive the poll. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setHidden(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

/** Copies text. The clipboard API is for https and localhost only, and a relay is often plain http: then the old way. */
export async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Refused by the browser: the old way needs no permission.
    }
  }
  const field = el('textarea', { value: text, class: 'offscreen', readOnly: true, 'aria-hidden': 'true' });
  document.body.append(field);
  const before = document.activeElement;
  field.select();
  const copied = document.execCommand('copy');
  field.remove();
  before?.focus?.({ preventScroll: true });
  return copied;
}
