/* How this program uses the heap. */
#ifndef AGENT_MEMORY_H
#define AGENT_MEMORY_H

/* The agent stays for the life of a guest beside the app, so memory that one request took is given
 * back after it: few arenas, large blocks mapped on their own. Call before the first thread. */
void memory_settle(void);

/* Gives back the pages of program and library files that only starting up has touched: they are
 * clean copies of the page cache, and what serving needs is mapped again at its first use. */
void memory_forget_start(void);

#endif
