/* Numbers the interactive elements of one frame that a person would see in the viewport.
 *
 * Evaluates to an object that lives as long as the frame's document:
 *   look({clip, limit})   what is in view; clip is the part of this frame's viewport that shows
 *   describe(id)          how an element shown before looks now, or null if it is gone
 *   element(id)           the element itself
 *   part(frameElement)    where an iframe shows in this frame, or null
 *   uncovered(frameElement, points)   which points of it nothing of this frame covers
 */
(() => {
  const INTERACTIVE =
    'a[href],area[href],button,input:not([type=hidden]),select,textarea,summary,' +
    'iframe[src$=".pdf"],video[controls],audio[controls],[contenteditable=""],' +
    '[contenteditable=true],[onclick],[tabindex]:not([tabindex="-1"]),[role=button],[role=link],' +
    '[role=checkbox],[role=radio],[role=switch],[role=tab],[role=menuitem],' +
    '[role=menuitemcheckbox],[role=menuitemradio],[role=option],[role=combobox],[role=textbox],' +
    '[role=searchbox],[role=slider],[role=spinbutton],[role=treeitem]';
  const MOST_NODES = 60000;
  const NAME_LENGTH = 70;
  const numbers = new WeakMap();
  let shown = new Map();
  let last = 0;

  const parentOf = (node) =>
    node.assignedSlot || node.parentElement || (node.getRootNode && node.getRootNode().host) || null;

  const holds = (outer, inner) => {
    for (let node = inner; node; node = parentOf(node)) if (node === outer) return true;
    return false;
  };

  const squeeze = (text) => {
    const flat = (text || '').slice(0, 600).replace(/\s+/g, ' ').trim();
    return flat.length > NAME_LENGTH ? flat.slice(0, NAME_LENGTH - 1) + '…' : flat;
  };

  const referenced = (el) =>
    (el.getAttribute('aria-labelledby') || '')
      .split(/\s+/)
      .filter(Boolean)
      .map((id) => el.getRootNode().getElementById?.(id)?.innerText || '')
      .join(' ');

  const pictured = (el) =>
    el.querySelector?.('img[alt]:not([alt=""]),svg[aria-label]')?.getAttribute('alt') ||
    el.querySelector?.('svg[aria-label],[aria-label]')?.getAttribute('aria-label') ||
    el.querySelector?.('svg title')?.textContent;

  const labelled = (el) => (el.labels?.length ? [...el.labels].map((l) => l.innerText).join(' ') : '');

  const nameOf = (el) => {
    const isField = /^(INPUT|SELECT|TEXTAREA)$/.test(el.tagName);
    const isButton = el.tagName === 'INPUT' && /^(button|submit|reset|image)$/.test(el.type);
    return squeeze(
      el.getAttribute('aria-label') || referenced(el) || labelled(el) || (isButton && el.value) ||
      (isButton && el.alt) || (!isField && (el.innerText || pictured(el))) || el.title ||
      (isField && el.name) || el.id,
    );
  };

  const roleOf = (el) => {
    const role = el.getAttribute('role');
    if (role) return squeeze(role);
    const tag = el.tagName.toLowerCase();
    if (tag === 'a' || tag === 'area') return 'link';
    if (tag === 'input') {
      if (/^(button|submit|reset|image)$/.test(el.type)) return 'button';
      return el.type === 'text' ? 'textbox' : el.type;
    }
    return { textarea: 'textbox', select: 'select', summary: 'button' }[tag] || tag;
  };

  const statesOf = (el) => {
    const states = [];
    const aria = (name) => el.getAttribute('aria-' + name);
    if (el.disabled || aria('disabled') === 'true') states.push('disabled');
    if (el.readOnly && 'value' in el) states.push('read-only');
    if (el.required) states.push('required');
    if (el.checked === true || aria('checked') === 'true') states.push('checked');
    if (aria('selected') === 'true') states.push('selected');
    const open = aria('expanded') ?? (el.tagName === 'SUMMARY' ? String(!!el.parentElement?.open) : null);
    if (open !== null) states.push(open === 'true' ? 'expanded' : 'collapsed');
    return states;
  };

  const valueOf = (el) => {
    if (el.tagName === 'SELECT') return squeeze([...el.selectedOptions].map((o) => o.label).join(', '));
    if (el.tagName === 'TEXTAREA') return squeeze(el.value);
    if (el.tagName !== 'INPUT') return el.isContentEditable ? squeeze(el.innerText) : '';
    if (/^(button|submit|reset|image|checkbox|radio)$/.test(el.type)) return '';
    return el.type === 'password' ? '•'.repeat(Math.min(el.value.length, 8)) : squeeze(el.value);
  };

  const told = (el) => ({
    role: roleOf(el),
    name: nameOf(el),
    value: valueOf(el),
    placeholder: squeeze(el.getAttribute('placeholder')),
    states: statesOf(el),
  });

  const visible = (el) =>
    el.checkVisibility
      ? el.checkVisibility({ visibilityProperty: true })
      : getComputedStyle(el).visibility !== 'hidden';

  const hits = (el, x, y) => {
    let hit = el.getRootNode().elementFromPoint?.(x, y) ?? document.elementFromPoint(x, y);
    while (hit?.shadowRoot && hit !== el && !holds(el, hit)) {
      const inner = hit.shadowRoot.elementFromPoint(x, y);
      if (!inner || inner === hit) break;
      hit = inner;
    }
    if (!hit) return false;
    if (hit === el || holds(el, hit)) return true;
    const label = hit.closest?.('label');
    return !!label && label.control === el;
  };

  /* A place of the element that shows and that a click would reach, or null. */
  const reachable = (el, box, clip) => {
    const left = Math.max(box.left, clip.x);
    const top = Math.max(box.top, clip.y);
    const right = Math.min(box.right, clip.x + clip.width);
    const bottom = Math.min(box.bottom, clip.y + clip.height);
    if (right - left < 1 || bottom - top < 1) return null;
    const at = (fx, fy) => [left + (right - left) * fx, top + (bottom - top) * fy];
    const places = [at(0.5, 0.5), at(0.15, 0.2), at(0.85, 0.2), at(0.15, 0.8), at(0.85, 0.8)];
    return places.find(([x, y]) => hits(el, x, y)) || null;
  };

  function* all(root, budget) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT);
    for (let node = walker.nextNode(); node && budget.left > 0; node = walker.nextNode()) {
      budget.left -= 1;
      yield node;
      if (node.shadowRoot) yield* all(node.shadowRoot, budget);
    }
  }

  /* The cursor is inherited: the outermost element with the hand is the one that is meant. */
  const looksClickable = (el) => {
    if (getComputedStyle(el).cursor !== 'pointer') return false;
    const parent = parentOf(el);
    return !parent || getComputedStyle(parent).cursor !== 'pointer';
  };

  /* A label in the place of a control that is itself not to be seen, as styled checkboxes have. */
  const standsIn = (el) => {
    if (el.tagName !== 'LABEL' || !el.control) return false;
    const box = el.control.getBoundingClientRect();
    return box.width < 2 || box.height < 2 || !visible(el.control);
  };

  const look = ({ clip, limit }) => {
    const area = clip || { x: 0, y: 0, width: innerWidth, height: innerHeight };
    const budget = { left: MOST_NODES };
    const found = [];
    const counts = { above: 0, below: 0, beside: 0, covered: 0, unlisted: 0 };
    shown = new Map();
    for (const el of all(document, budget)) {
      const known = el.matches(INTERACTIVE) || standsIn(el);
      const box = el.getBoundingClientRect();
      if (box.width < 2 || box.height < 2) continue;
      const inside =
        box.bottom > area.y && box.top < area.y + area.height &&
        box.right > area.x && box.left < area.x + area.width;
      if (!inside) {
        if (!known) continue;
        if (box.bottom <= area.y) counts.above += 1;
        else if (box.top >= area.y + area.height) counts.below += 1;
        else counts.beside += 1;
        continue;
      }
      if (!known && !looksClickable(el)) continue;
      if (!visible(el)) continue;
      const point = reachable(el, box, area);
      if (!point) {
        counts.covered += 1;
      } else if (found.length >= limit) {
        counts.unlisted += 1;
      } else {
        if (!numbers.has(el)) numbers.set(el, ++last);
        const id = numbers.get(el);
        shown.set(id, el);
        found.push({ id, x: point[0], y: point[1], ...told(el) });
      }
    }
    const scroller = document.scrollingElement || document.documentElement;
    return {
      elements: found,
      ...counts,
      cut: budget.left <= 0,
      scroll_top: Math.round(scrollY),
      height: innerHeight,
      width: innerWidth,
      scroll_height: scroller ? scroller.scrollHeight : 0,
    };
  };

  const describe = (id) => {
    const el = shown.get(id);
    return el && el.isConnected && visible(el) ? told(el) : null;
  };

  const content = (el) => {
    const box = el.getBoundingClientRect();
    const style = getComputedStyle(el);
    const side = (name) => parseFloat(style['padding' + name]) || 0;
    return {
      x: box.left + el.clientLeft + side('Left'),
      y: box.top + el.clientTop + side('Top'),
      width: el.clientWidth - side('Left') - side('Right'),
      height: el.clientHeight - side('Top') - side('Bottom'),
    };
  };

  const part = ({ el, clip }) => {
    const box = content(el);
    const area = clip || { x: 0, y: 0, width: innerWidth, height: innerHeight };
    const left = Math.max(box.x, area.x);
    const top = Math.max(box.y, area.y);
    const width = Math.min(box.x + box.width, area.x + area.width) - left;
    const height = Math.min(box.y + box.height, area.y + area.height) - top;
    if (width < 2 || height < 2 || !visible(el)) return null;
    return { x: left - box.x, y: top - box.y, width, height };
  };

  const uncovered = ({ el, points }) => {
    const box = content(el);
    return points.map(([x, y]) => hits(el, box.x + x, box.y + y));
  };

  return { look, describe, part, uncovered, element: (id) => shown.get(id) || null };
})()
