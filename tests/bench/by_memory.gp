# Draws what `by_memory` prints, as figures.sh does:  build/tests/bench/by_memory >m.dat && gnuplot -e 'data="m.dat"' tests/bench/by_memory.gp >m.svg
set terminal svg size 760,420 font "sans-serif,13" background "white" noenhanced
set key outside right top reverse Left
set title "Starting a child, by the parent's resident memory"
set xlabel "MiB resident in the parent"
set ylabel "ms, median"
set format y "%g"
set logscale y
set grid ytics
set linetype 9 lc rgb "gray40"  # the ninth would be the first again
set xtics ("0" 0, "64" 1, "256" 2, "1024" 3, "4096" 4)
set xrange [-0.2:4.2]
stats data using 1 skip 1 nooutput
columns = int(system("head -n 1 ".data." | tr -cd '\"' | wc -c")) / 2 - 1
plot for [i=2:columns+1] data using 0:(column(i) / 1000) with linespoints lw 2 pt 7 ps 0.6 title columnheader(i)
