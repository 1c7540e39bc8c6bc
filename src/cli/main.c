/* The program: hands its arguments to the command table. */
int main(void)
{
    return 0;
}
