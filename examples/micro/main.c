/* The firmware's main, for boards whose tools want one; the Arduino sketch has loop() instead. */
#include "port.h"
#include "serve.h"

int main(void)
{
    port_begin();
    for (;;) serve();
}
