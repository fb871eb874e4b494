# What doxygen is to see of a header: each comment that has a line of its own, as text without markup. Specialisations of other
# libraries' templates, which it cannot place, it does not see.
/^template <>$/,/};$/d
/^ *\/\//{
  s/&/\&amp;/g
  s/</\&lt;/g
  s/>/\&gt;/g
  s/[@\\#]/\\&/g
  s/^( *)\/\/( |$)/\1\/\/\/ /
}
