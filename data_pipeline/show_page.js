const PER_PAGE = 12;
let current = 0, page = 0, language = '', words = '';

function chosen() {
  return data.streams[current].records.filter(record =>
    (!language || record.texts.some(text => text[0] === language)) &&
    (!words || record.texts.some(text => text[1].toLowerCase().includes(words)) || (record.url || '').toLowerCase().includes(words)));
}

function card(record) {
  const made = element('article', { class: 'card' });
  if (record.image) made.append(element('figure', {}, element('img', { src: record.image, alt: 'picture ' + record.id, loading: 'lazy' })));
  const list = element('dl');
  for (const [code, text] of record.texts) {
    if (language && code !== language && record.image) continue;
    list.append(element('dt', {}, code), element('dd', { dir: 'auto' }, text));
  }
  made.append(list);
  const source = element('div', { class: 'source' }, record.id + (record.licence ? ' · ' + record.licence : ''));
  if (record.url) {
    const link = /^https?:\/\//.test(record.url) ? { href: record.url, rel: 'noreferrer noopener', target: '_blank' } : {};
    source.append(element('br'), element(link.href ? 'a' : 'span', link, record.url));
  }
  made.append(source);
  return made;
}

function reasons(dropped) {
  const made = element('table', {}, element('tr', {}, ...['reason', 'number', 'why, and examples'].map(cell => element('th', {}, cell))));
  for (const [reason, number, meaning, examples] of dropped) {
    const why = element('td', {}, meaning);
    if (examples.length) why.append(element('ul', {}, ...examples.map(text => element('li', { dir: 'auto' }, text))));
    made.append(element('tr', {}, element('td', {}, reason), element('td', { class: 'number' }, number), why));
  }
  return made;
}

function showCards() {
  const found = chosen(), pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  document.getElementById('cards').replaceChildren(...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(card));
  document.getElementById('place').textContent = `page ${page + 1} of ${pages} · ${found.length} of ${data.streams[current].samples.toLocaleString('en')} samples are in this page`;
  document.getElementById('back').disabled = page === 0;
  document.getElementById('on').disabled = page === pages - 1;
}

function turn(step) { page += step; showCards(); window.scrollTo(0, 0); }

function showStream() {
  const stream = data.streams[current];
  for (const [number, button] of document.querySelectorAll('nav button').entries()) button.setAttribute('aria-current', String(number === current));
  const languages = element('select', { 'aria-label': 'language', onchange: event => { language = event.target.value; page = 0; showCards(); } },
    element('option', { value: '' }, 'all languages'), ...Object.keys(stream.languages).map(code => element('option', { value: code }, code)));
  const search = element('input', { type: 'search', placeholder: 'search texts and URLs', oninput: event => { words = event.target.value.toLowerCase(); page = 0; showCards(); } });
  const dropped = stream.dropped.length ? reasons(stream.dropped) : element('p', {}, 'Nothing was dropped, or it is told in the train split.');
  document.querySelector('main').replaceChildren(
    element('h2', {}, stream.name), element('p', { class: 'facts' }, stream.facts),
    ...stream.warnings.map(text => element('p', { class: 'warning' }, text)),
    element('details', stream.dropped.length ? { open: '' } : {}, element('summary', {}, 'What was dropped, and why'), dropped),
    element('details', {}, element('summary', {}, 'Languages'), table(['language', stream.counted, ...(stream.tokens ? ['tokens'] : [])],
      Object.entries(stream.languages).map(([code, number]) => [code, number, ...(stream.tokens ? [stream.tokens[code] || 0] : [])]))),
    element('div', { class: 'bar' },
      element('button', { id: 'back', onclick: () => turn(-1) }, '← back'), element('button', { id: 'on', onclick: () => turn(1) }, 'next →'),
      languages, search, element('span', { id: 'place' })),
    element('div', { class: 'cards', id: 'cards' }));
  showCards();
}

document.querySelector('nav').append(element('h1', {}, data.title), ...data.streams.map((stream, number) =>
  element('button', { onclick: () => { current = number; page = 0; language = words = ''; showStream(); } }, stream.name, element('small', {}, stream.samples))));
document.addEventListener('keydown', event => {
  if (event.target.tagName === 'INPUT') return;
  if (event.key === 'ArrowRight' && !document.getElementById('on').disabled) turn(1);
  if (event.key === 'ArrowLeft' && !document.getElementById('back').disabled) turn(-1);
});
showStream();
