// Private to io/: the temporary files and folders that this process has made, so that a second signal, which
// waits for nobody, can take them away before the process ends.
#ifndef ER_UNFINISHED_H
#define ER_UNFINISHED_H

// What makes one, and what gives it its final name, does so between hold and release: er_unfinished_remove()
// never meets a folder that is half put in place.
void er_unfinished_hold(void);
void er_unfinished_release(void);
// Held. A path that memory has no room for is not noted, and left to the next job to sweep. To forget a path
// is not needed where it was removed: its name does not come again.
void er_unfinished_note(const char *path);
void er_unfinished_forget(const char *path);

// Removes what is noted and never lets go of the hold: the process is about to end.
void er_unfinished_remove(void);
#endif
