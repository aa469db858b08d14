/* What runs before main on an emulated board: variables get their first values. */
#include <stdint.h>
#include <string.h>

extern uint8_t data_begin, data_end, data_values, bss_begin, bss_end;
int main(void);
void start(void);

void start(void)
{
    memcpy(&data_begin, &data_values, (size_t)(&data_end - &data_begin));
    memset(&bss_begin, 0, (size_t)(&bss_end - &bss_begin));
    main();
    for (;;) {
    }
}
