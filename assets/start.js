// Follows the properties that the server sends. This file comes last: everything that it calls is defined by then.

// The table stands in the tab "Objects", which Gradio builds elsewhere.
const moveTable = (_, observer) => {
  const home = document.querySelector("#objects-table");
  if (!home || home.contains(details)) return;
  home.append(details);
  observer?.disconnect();
};
new MutationObserver(moveTable).observe(document.body, { childList: true, subtree: true });
moveTable();

// The names of the properties are not quoted, because Gradio takes every quoted name in this script for an event. A
// property of this name would then stand for the event.
for (const [property, follow] of Object.entries({ look: show, scene: rebuild, said: hear })) watch(property, follow);
rebuild();
