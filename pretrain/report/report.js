const SVG = 'http://www.w3.org/2000/svg', WIDTH = 640, HEIGHT = 260, LEFT = 62, RIGHT = 8, TOP = 8, BOTTOM = 22;
const TABS = { losses: 'Losses', retrieval: 'Retrieval', optimisation: 'Optimisation', speed: 'Speed', data: 'Data', history: 'Restarts and faults', settings: 'Settings', environment: 'Environment' };

function drawn(tag, attributes = {}, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// A series looks the same in all charts: of `style` n, -1 is the sum of others; nine colours are told apart, and after them the dashes.
const COLOURS = ['#4878d0', '#e8810c', '#2f9e44', '#d6403a', '#8a5fc7', '#8c6239', '#dc5fb0', '#17a3b8', '#a8a010'];
const DASHES = ['none', '7 3', '2 3', '10 3 2 3', '14 4', '5 2 1 2 1 2'];
function look(style) {
  if (style < 0) return { stroke: 'currentColor', 'stroke-width': 2.5 };
  return { stroke: COLOURS[style % COLOURS.length], 'stroke-dasharray': DASHES[Math.floor(style / COLOURS.length) % DASHES.length] };
}
const short = value => value === 0 ? '0' : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));

// Round numbers from low to high, about `count` of them.
function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= raw);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at++) found.push(at * step);
  return found;
}

function swatch(style) {
  const made = drawn('svg', { class: 'swatch', viewBox: '0 0 28 6', 'aria-hidden': 'true' });
  made.append(drawn('line', { x1: 0, x2: 28, y1: 3, y2: 3, ...look(style) }));
  return made;
}

// A line chart; what can be toggled is in `state`, and everything is drawn anew then.
function chart(given) {
  const state = { hidden: new Set(), log: false };
  const box = element('section', { class: 'chart' }), plot = drawn('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': given.title });
  const tip = element('div', { class: 'tip' }), legend = element('div', { class: 'legend' });
  const positive = given.series.every(series => series.points.every(point => point[1] > 0));
  const log = element('button', { 'aria-pressed': 'false', class: 'log', onclick: () => { state.log = !state.log; log.setAttribute('aria-pressed', String(state.log)); draw(); } }, 'log');
  const unit = given.unit ? ` (${given.unit})` : '', joined = given.joined > 1 ? `, means of ${given.joined} steps` : '';
  box.append(element('div', { class: 'bar' }, element('h2', {}, given.title + unit + joined), ...(positive ? [log] : [])), plot, tip, legend);
  let scales = null;

  for (const [number, series] of given.series.entries()) {
    const button = element('button', { 'aria-pressed': 'true', title: 'show or hide', onclick: () => {
      if (!state.hidden.delete(number)) state.hidden.add(number);
      button.setAttribute('aria-pressed', String(!state.hidden.has(number)));
      draw();
    } }, swatch(series.style), series.name);
    for (const come of ['pointerenter', 'focus']) button.addEventListener(come, () => highlight(series.name));
    for (const go of ['pointerleave', 'blur']) button.addEventListener(go, () => highlight(null));
    legend.append(button);
  }
  if (given.series.length > 3) {
    const all = element('button', { class: 'all', onclick: () => {
      const hide = state.hidden.size === 0;
      state.hidden = new Set(hide ? given.series.keys() : []);
      for (const button of legend.querySelectorAll('button[aria-pressed]')) button.setAttribute('aria-pressed', String(!hide));
      draw();
    } }, 'all / none');
    legend.append(all);
  }

  const shown = () => [...given.series.entries()].filter(([number, series]) => !state.hidden.has(number) && series.points.length);

  // Among many lines the one whose name is pointed at; null: all of them.
  function highlight(name) {
    for (const line of plot.querySelectorAll('.line')) line.classList.toggle('dim', name !== null && line.dataset.name !== name);
  }

  function draw() {
    plot.replaceChildren();
    tip.replaceChildren();
    scales = null;
    const points = shown().flatMap(([, series]) => series.points);
    if (!points.length) return;
    const of = (index, pick) => points.reduce((best, point) => pick(best, point[index]), points[0][index]);
    const value = state.log ? Math.log10 : number => number;
    let [first, last, low, high] = [of(0, Math.min), of(0, Math.max), value(of(1, Math.min)), value(of(1, Math.max))];
    if (first === last) { first -= 1; last += 1; }
    const margin = high > low ? (high - low) * 0.04 : Math.abs(high) * 0.1 || 1;
    low -= margin; high += margin;
    const x = step => LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT);
    const y = number => HEIGHT - BOTTOM - (value(number) - low) / (high - low) * (HEIGHT - BOTTOM - TOP);
    scales = { x, y };
    for (const tick of ticks(low, high, 5)) {
      const number = state.log ? 10 ** tick : tick, at = y(number);
      plot.append(drawn('line', { class: 'grid', x1: LEFT, x2: WIDTH - RIGHT, y1: at, y2: at }),
        drawn('text', { class: 'y', x: LEFT - 6, y: at + 4, 'text-anchor': 'end', 'data-value': number, 'data-at': at }, short(number)));
    }
    for (const tick of ticks(first, last, 6).filter(Number.isInteger)) {
      plot.append(drawn('text', { class: 'x', x: x(tick), y: HEIGHT - 6, 'text-anchor': 'middle', 'data-value': tick, 'data-at': x(tick) }, tick.toLocaleString('en')));
    }
    plot.append(drawn('text', { class: 'axis', x: 0, y: HEIGHT - 6 }, 'step'));
    for (const step of data.stops.filter(step => step > first && step < last)) plot.append(drawn('line', { class: 'restart', x1: x(step), x2: x(step), y1: TOP, y2: HEIGHT - BOTTOM }));
    for (const [, series] of shown()) {
      const places = series.points.map(point => `${x(point[0]).toFixed(2)},${y(point[1]).toFixed(2)}`);
      if (places.length === 1) {
        const [cx, cy] = places[0].split(',');
        plot.append(drawn('circle', { class: 'line', cx, cy, r: 3, ...look(series.style), 'data-name': series.name }));
      } else plot.append(drawn('polyline', { class: 'line', points: places.join(' '), ...look(series.style), 'data-name': series.name }));
    }
  }

  // The values at the step nearest to the pointer.
  plot.addEventListener('pointermove', event => {
    plot.querySelector('.cursor')?.remove();
    if (!scales) return;
    const area = plot.getBoundingClientRect(), at = (event.clientX - area.left) / area.width * WIDTH;
    const distance = step => Math.abs(scales.x(step) - at);
    const steps = shown().flatMap(([, series]) => series.points.map(point => point[0]));
    const step = steps.reduce((best, other) => distance(other) < distance(best) ? other : best);
    plot.append(drawn('line', { class: 'cursor', x1: scales.x(step), x2: scales.x(step), y1: TOP, y2: HEIGHT - BOTTOM }));
    const values = shown().flatMap(([, series]) => series.points.filter(point => point[0] === step).map(point => `${series.name} ${short(point[1])}`));
    tip.textContent = `step ${step.toLocaleString('en')}: ${values.join(', ')}`;
  });
  plot.addEventListener('pointerleave', () => { plot.querySelector('.cursor')?.remove(); tip.replaceChildren(); });
  draw();
  return box;
}

const wide = made => element('div', { class: 'wide' }, made);

function history() {
  const parts = [];
  if (data.problems.length) parts.push(...data.problems.map(text => element('p', { class: 'warning' }, text)));
  parts.push(element('h2', {}, 'Starts and ends'), wide(table(['time', 'event', 'step', 'processes', ''], data.starts)));
  parts.push(element('h2', {}, 'Faults'), data.faults.length ? wide(table(['time', 'event', 'step', 'what'], data.faults)) : element('p', {}, 'None is recorded.'));
  if (data.attempts.length) parts.push(element('h2', {}, 'Steps that were lost, and made again'), wide(table(['file', 'lines', 'first step', 'last step'], data.attempts)));
  return parts;
}

function settings() {
  const rows = element('div', { class: 'wide' });
  const fill = words => {
    const found = data.settings.filter(row => row[0].includes(words) || row[1].includes(words));
    const made = table(['setting', 'value', 'default, where it differs'], found.map(row => row.map(cell => cell ?? '')));
    for (const [number, line] of [...made.rows].slice(1).entries()) if (found[number][2] !== null) line.className = 'changed';
    rows.replaceChildren(made);
  };
  fill('');
  return [element('input', { type: 'search', placeholder: 'search settings', oninput: event => fill(event.target.value) }), rows];
}

const FILLED = {
  history,
  settings,
  environment: () => data.environment.length ? [wide(table(['', 'of the last start'], data.environment))] : [element('p', {}, 'There is no environment.json.')],
};

function show(tab) {
  for (const button of document.querySelectorAll('.tabs button')) button.setAttribute('aria-selected', String(button.dataset.tab === tab));
  const charts = data.charts.filter(given => given.tab === tab);
  document.querySelector('main').replaceChildren(...(FILLED[tab] ? FILLED[tab]() : [element('div', { class: 'charts' }, ...charts.map(chart))]));
}

document.title = document.querySelector('h1').textContent = data.title;
document.querySelector('.facts').append(...data.facts.map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value))));
const tabs = Object.keys(TABS).filter(tab => FILLED[tab] || data.charts.some(given => given.tab === tab));
document.querySelector('.tabs').append(...tabs.map(tab => element('button', { role: 'tab', 'data-tab': tab, onclick: () => show(tab) }, TABS[tab])));
show(tabs[0]);
