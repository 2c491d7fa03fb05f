/* SPDX-License-Identifier: Apache-2.0
 *
 * One round of Keccak-f[1600], for one state or for several side by side.
 * Included once per kind of lane with
 *
 *   LANE            a 64-bit lane, or a vector of lanes of several states
 *   ROTATE(a, n)    rotate left by 1 to 63 bits
 *   XOR3(a, b, c)   a ^ b ^ c
 *   CHI_LANE(a, b, c)  a ^ (~b & c)
 */

/* Lanes are named by plane (b g k m s, from y = 0) and sheet (a e i o u, from
 * x = 0), as in the reference, so that a whole state stays in local
 * variables.  Two names per lane, one for even and one for odd rounds, spare
 * the copy between rounds. */
#define DECLARE(set)                                                          \
    LANE set##ba, set##be, set##bi, set##bo, set##bu,                         \
        set##ga, set##ge, set##gi, set##go, set##gu,                          \
        set##ka, set##ke, set##ki, set##ko, set##ku,                          \
        set##ma, set##me, set##mi, set##mo, set##mu,                          \
        set##sa, set##se, set##si, set##so, set##su

/* Chi over one plane of five lanes already rotated and moved. */
#define CHI(out, y)                                                           \
    out##y##a = CHI_LANE(c0, c1, c2);                                         \
    out##y##e = CHI_LANE(c1, c2, c3);                                         \
    out##y##i = CHI_LANE(c2, c3, c4);                                         \
    out##y##o = CHI_LANE(c3, c4, c0);                                         \
    out##y##u = CHI_LANE(c4, c0, c1)

/* One round: theta's column parities, then rho, pi and chi plane by plane. */
#define ROUND(in, out, constant)                                              \
    do {                                                                      \
        LANE pa = XOR3(XOR3(in##ba, in##ga, in##ka), in##ma, in##sa);         \
        LANE pe = XOR3(XOR3(in##be, in##ge, in##ke), in##me, in##se);         \
        LANE pi = XOR3(XOR3(in##bi, in##gi, in##ki), in##mi, in##si);         \
        LANE po = XOR3(XOR3(in##bo, in##go, in##ko), in##mo, in##so);         \
        LANE pu = XOR3(XOR3(in##bu, in##gu, in##ku), in##mu, in##su);         \
        LANE da = pu ^ ROTATE(pe, 1);                                         \
        LANE de = pa ^ ROTATE(pi, 1);                                         \
        LANE di = pe ^ ROTATE(po, 1);                                         \
        LANE dO = pi ^ ROTATE(pu, 1);                                         \
        LANE du = po ^ ROTATE(pa, 1);                                         \
        LANE c0, c1, c2, c3, c4;                                              \
                                                                              \
        c0 = in##ba ^ da;                                                     \
        c1 = ROTATE(in##ge ^ de, 44);                                         \
        c2 = ROTATE(in##ki ^ di, 43);                                         \
        c3 = ROTATE(in##mo ^ dO, 21);                                         \
        c4 = ROTATE(in##su ^ du, 14);                                         \
        CHI(out, b);                                                          \
        out##ba ^= (constant);                                                \
                                                                              \
        c0 = ROTATE(in##bo ^ dO, 28);                                         \
        c1 = ROTATE(in##gu ^ du, 20);                                         \
        c2 = ROTATE(in##ka ^ da, 3);                                          \
        c3 = ROTATE(in##me ^ de, 45);                                         \
        c4 = ROTATE(in##si ^ di, 61);                                         \
        CHI(out, g);                                                          \
                                                                              \
        c0 = ROTATE(in##be ^ de, 1);                                          \
        c1 = ROTATE(in##gi ^ di, 6);                                          \
        c2 = ROTATE(in##ko ^ dO, 25);                                         \
        c3 = ROTATE(in##mu ^ du, 8);                                          \
        c4 = ROTATE(in##sa ^ da, 18);                                         \
        CHI(out, k);                                                          \
                                                                              \
        c0 = ROTATE(in##bu ^ du, 27);                                         \
        c1 = ROTATE(in##ga ^ da, 36);                                         \
        c2 = ROTATE(in##ke ^ de, 10);                                         \
        c3 = ROTATE(in##mi ^ di, 15);                                         \
        c4 = ROTATE(in##so ^ dO, 56);                                         \
        CHI(out, m);                                                          \
                                                                              \
        c0 = ROTATE(in##bi ^ di, 62);                                         \
        c1 = ROTATE(in##go ^ dO, 55);                                         \
        c2 = ROTATE(in##ku ^ du, 39);                                         \
        c3 = ROTATE(in##ma ^ da, 41);                                         \
        c4 = ROTATE(in##se ^ de, 2);                                          \
        CHI(out, s);                                                          \
    } while (0)

#define PLANE(action, set, y, first)                                          \
    action(set##y##a, lanes[first]);                                          \
    action(set##y##e, lanes[(first) + 1]);                                    \
    action(set##y##i, lanes[(first) + 2]);                                    \
    action(set##y##o, lanes[(first) + 3]);                                    \
    action(set##y##u, lanes[(first) + 4])
#define ALL_PLANES(action, set)                                               \
    PLANE(action, set, b, 0);                                                 \
    PLANE(action, set, g, 5);                                                 \
    PLANE(action, set, k, 10);                                                \
    PLANE(action, set, m, 15);                                                \
    PLANE(action, set, s, 20)
#define LOAD(variable, lane) variable = lane
#define STORE(variable, lane) lane = variable
