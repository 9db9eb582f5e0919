// What Eigen alone costs a user: the unit in which compile_cost tells how fast a processor is.
#include <Eigen/Dense>

int main() { return 0; }
