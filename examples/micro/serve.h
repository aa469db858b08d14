#ifndef SERVE_H
#define SERVE_H

/* Waits for a request on the serial line and answers it. Call it again and again. */
void serve(void);

#endif
