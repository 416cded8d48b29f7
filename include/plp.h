#ifndef PLP_H
#define PLP_H
#endif
