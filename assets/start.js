// Follows the properties that the server sends. This file comes last: everything that it calls is defined by then.

// The table stands in the tab "Objects", the card beside the picture and the table of all photos below, in places that Gradio builds later.
const HOMES = [["objects-table", details], ["selected", card], ["many-home", manyTable]];
const moveAway = () => {
  for (const [id, part] of HOMES) {
    const home = document.getElementById(id);
    if (home && !home.contains(part)) home.append(part);
  }
};
new MutationObserver(moveAway).observe(document.body, { childList: true, subtree: true });
moveAway();

// The names of the properties are not quoted, because Gradio takes every quoted name in this script for an event. A
// property of this name would then stand for the event.
// The scene comes before the look: if both have changed, the look fits the new scene only.
const follows = { scene: build, look: () => (remember(), show()), said: hear, second: showSplit, opened: openPage, clip_scene: followFilm, clip_look: followFiltered, playable: playOther, ideas: hearIdeas, tally: followTally, gallery: followMany, value: () => (showParts(), showRuler()) };
for (const [property, follow] of Object.entries(follows)) watch(property, follow);
showParts();
build();
showSplit();
