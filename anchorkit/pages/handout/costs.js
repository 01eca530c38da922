// What a set of anchors costs, from the layout: the formulas of anchorkit/costs.py.

// layout: as AnchorLayout.to_dict(); keep: one byte per anchor. total_flops is null where the trunk's are not known.
export function costsOf(layout, keep) {
  let first = 0;
  const positions = new Set();
  const counts = layout.levels.map((level) => {
    let count = 0;
    level.anchors.forEach((_, i) => {
      if (!keep[first + i]) return;
      count++;
      positions.add(level.positions ? level.positions[i] : i);
    });
    first += level.anchors.length;
    return count;
  });
  const kept = layout.levels.filter((_, i) => counts[i]);
  const sum = (of) => layout.levels.reduce((total, level, i) => total + (counts[i] ? of(level, counts[i]) : 0), 0);
  const cells = (level) => level.height * level.width;
  const head = sum((level, count) => cells(level) * (level.head_macs_fixed + count * level.head_macs_per_anchor));
  const gone = (layout.trunk_parts ?? []).filter((part) => !part.levels.some((i) => counts[i]));
  const most = (name) => Math.max(0, ...kept.map((level) => level[name]));
  return {
    n_anchors: counts.reduce((a, b) => a + b, 0),
    boxes: sum((level, count) => cells(level) * count),
    head_flops: head,
    total_flops: layout.trunk_macs === null ? null : layout.trunk_macs - gone.reduce((a, p) => a + p.macs, 0) + head,
    // One shared head serves all levels: it needs the filters of every position that some level keeps, once.
    head_parameters: layout.shared_head
      ? most("head_params_fixed") + positions.size * most("head_params_per_anchor")
      : sum((level, count) => level.head_params_fixed + count * level.head_params_per_anchor),
  };
}
