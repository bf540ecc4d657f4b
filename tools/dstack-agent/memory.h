/* How this program uses the heap. */
#ifndef AGENT_MEMORY_H
#define AGENT_MEMORY_H

/* The agent stays for the life of a guest beside the app, so memory that one request took is given
 * back after it: few arenas, large blocks mapped on their own. Call before the first thread. */
void memory_settle(void);

#endif
