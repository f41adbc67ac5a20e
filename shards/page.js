'use strict';
// What the pages have in common. Everything from a data file is set as text, never as HTML: what looks like markup is shown as it is.
const data = JSON.parse(document.getElementById('data').textContent);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children.map(child => typeof child === 'number' ? child.toLocaleString('en') : child));
  return made;
}

function table(head, rows) {
  const made = element('table', {}, element('tr', {}, ...head.map(cell => element('th', {}, cell))));
  for (const row of rows) made.append(element('tr', {}, ...row.map(cell => element('td', typeof cell === 'number' ? { class: 'number' } : {}, cell))));
  return made;
}

